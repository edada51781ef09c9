//! Which of a release's migration files are still to run. Pure.
//!
//! The tool knows best: what its status names is pending. Where that names no file at all, those count that the release which
//! serves does not have. Files that ran long ago are not looked at: what they dropped is gone already.

/// A file of a release that may hold a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Its path in the tree.
    pub path: String,
    /// Whether the release that serves lacks it.
    pub new: bool,
}

impl File {
    /// The files in a report of the `migrations` script.
    pub(super) fn read(report: &str) -> Vec<Self> {
        let one = |line: &str| {
            let (age, path) = line.split_once('\t')?;
            Some(Self { path: path.to_owned(), new: age == "new" })
        };
        report.lines().filter_map(one).collect()
    }
}

/// Those of the files that are to be looked through, as the tool's status and the release before tell.
pub(super) fn pending<'a>(files: &'a [File], status: &str) -> Vec<&'a File> {
    let named: Vec<&File> = files.iter().filter(|file| names(status, word_for(file, files))).collect();
    if named.is_empty() { files.iter().filter(|file| file.new).collect() } else { named }
}

/// The part of a path that tells a file from the others: its name without the ending, or its folder's name where all files have
/// the same name, as in `20260101_init/migration.sql`.
fn word_for<'a>(file: &'a File, files: &[File]) -> &'a str {
    let own = stem(&file.path);
    let shared = files.iter().any(|other| other.path != file.path && own == stem(&other.path));
    let folder = file.path.rsplit('/').nth(1);
    if shared { folder.unwrap_or(own) } else { own }
}

fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.split_once('.').map_or(name, |(stem, _)| stem)
}

/// Whether a text holds the word, and not as a part of a longer one.
fn names(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    !word.is_empty()
        && text.match_indices(word).any(|(at, _)| {
            let before = text.get(..at).and_then(|before| before.chars().next_back());
            let after = text.get(at + word.len()..).and_then(|after| after.chars().next());
            !before.is_some_and(part) && !after.is_some_and(part)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(report: &str) -> Vec<File> {
        File::read(report)
    }

    fn found(files: &[File], status: &str) -> Vec<String> {
        pending(files, status).into_iter().map(|file| file.path.clone()).collect()
    }

    #[test]
    fn what_the_status_names_is_pending_whatever_way_the_tool_names_it() {
        let folders = files("old\tm/2025_init/migration.sql\nnew\tm/2026_drop/migration.sql\n");
        assert_eq!(
            found(&folders, "Following migration have not yet been applied:\n2026_drop"),
            ["m/2026_drop/migration.sql"]
        );
        let flat = files("old\tm/V1__init.sql\nold\tm/V10__drop.sql\n");
        assert_eq!(found(&flat, "pending: V10__drop.sql"), ["m/V10__drop.sql"]);
        // Also one that the release before had: it may never have run.
        assert_eq!(found(&flat, "Pending\n  V1__init\n  V10__drop"), ["m/V1__init.sql", "m/V10__drop.sql"]);
    }

    #[test]
    fn where_the_status_names_none_those_count_that_the_release_before_lacks() {
        let some = files("old\tm/1.sql\nnew\tm/2.sql\n");
        for status in ["", "one migration is pending", "12.sql", "database m is up to date"] {
            assert_eq!(found(&some, status), ["m/2.sql"], "{status}");
        }
        assert_eq!(found(&[], "anything"), Vec::<String>::new());
        assert_eq!(files("nonsense\n\n"), []);
    }
}
