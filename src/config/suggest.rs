//! Which known name an unknown one was probably meant to be.

use super::keys;

/// Similarity from which on a suggestion helps more than it confuses.
const SIMILAR: f64 = 0.84;

/// The known key nearest to a path: a misspelling, or the right name in the wrong table.
pub(super) fn path(unknown: &str) -> Option<String> {
    let lower = unknown.to_ascii_lowercase().replace('-', "_");
    let (list, inner) = split_list(&lower);
    let known: Vec<String> = match list {
        Some(list) => {
            let fields =
                keys::FIELDS.iter().filter(|field| field.list == list).map(|field| field.name.to_string());
            let grouped =
                keys::all().filter(|key| list == "group" && key.per_group).map(|key| key.path.to_string());
            fields.chain(grouped).collect()
        }
        None => keys::all()
            .map(|key| key.path.to_string())
            .chain(keys::SECRETS.iter().map(|key| key.path.to_string()))
            .collect(),
    };
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_string();
    let near = known
        .iter()
        .map(|path| (strsim::jaro_winkler(path, inner), path))
        .filter(|(score, _)| *score >= SIMILAR)
        .max_by(|(one, _), (two, _)| one.total_cmp(two));
    // `interval` at the top level, or `server.timeout`: the name exists, once, elsewhere.
    let misplaced = || {
        let mut same = known.iter().filter(|path| last(path) == last(inner));
        same.next().filter(|_| same.next().is_none())
    };
    let renamed = || {
        let wanted = last(inner);
        known
            .iter()
            .map(|path| (strsim::jaro_winkler(&last(path), &wanted), path))
            .filter(|(score, path)| *score >= 0.9 && path.split('.').next() == inner.split('.').next())
            .max_by(|(one, _), (two, _)| one.total_cmp(two))
            .map(|(_, path)| path)
    };
    renamed().or_else(misplaced).or(near.map(|(_, path)| path)).cloned()
}

/// `group[0].healt.interval` as the list `group` and the path within.
pub(super) fn split_list(path: &str) -> (Option<&'static str>, &str) {
    for list in ["group", "alerts.sink"] {
        let inner = path
            .strip_prefix(list)
            .and_then(|rest| rest.strip_prefix('['))
            .and_then(|rest| rest.split_once("]."));
        if let Some((_, inner)) = inner {
            return (Some(list), inner);
        }
    }
    (None, path)
}

/// The known variable that a name is a slip of the pen away from.
pub(super) fn variable(unknown: &str) -> Option<&'static str> {
    let flat = keys::all().flat_map(|key| key.flat.iter().map(|flat| flat.name));
    let known = flat
        .chain(keys::SECRETS.iter().map(|secret| secret.name))
        .chain(super::environment::PROCESS_VARIABLES.iter().copied());
    known
        .map(|name| (strsim::damerau_levenshtein(name, unknown), name))
        // Names are long, and two slips leave them recognisable; a short name of somebody else's stays his.
        .filter(|(distance, name)| *distance <= 2 && name.len() >= 8)
        .min()
        .map(|(_, name)| name)
}
