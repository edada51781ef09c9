//! Releases that are no file here: a commit of a git repository, or an image of a registry.
//!
//! What is deployed then is a small launcher, made here, in which every part of the recipe stands: so the same recipe is the same
//! release on every box, and another commit, build command or image is another one. A branch is only a way to name a commit: it is
//! resolved once, here, and the full hash is what the boxes get.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use super::{
    artifact::{sha256, tail},
    fault::DeployFault,
};
use crate::remote::quote;

/// Limit for asking a repository where a branch stands.
const RESOLVE_LIMIT: Duration = Duration::from_secs(60);

/// A commit of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What `git` fetches from.
    pub url: String,
    /// A full hash, or a branch or tag that is resolved to one.
    pub rev: String,
    /// For `sh`, in the checked-out tree; `None` builds nothing.
    pub build: Option<String>,
}

/// How a release is made that is no file here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// Checked out and built on each box.
    Tree {
        /// What.
        source: Source,
        /// For `sh`, in the tree: becomes the server.
        run: String,
    },
    /// Checked out and built here; the file that the build leaves is the artifact.
    Built {
        /// What.
        source: Source,
        /// The file, relative to the tree.
        output: PathBuf,
        /// How long the build may take.
        limit: Duration,
    },
    /// An image, pulled by each box.
    Image {
        /// Pinned by its digest.
        image: String,
        /// The commit that its server names; `None` if it names none.
        commit: Option<String>,
    },
    /// An image in an archive, which is sent to each box as it is.
    Archive {
        /// What the engine's `save` wrote.
        file: PathBuf,
        /// The commit that its server names; `None` if it names none.
        commit: Option<String>,
    },
}

impl Recipe {
    /// Makes the file and tells the commit that its server will name, if it is known.
    pub(super) async fn make(&self, folder: &Path) -> Result<(PathBuf, Option<String>), DeployFault> {
        std::fs::create_dir_all(folder).map_err(|error| stored(folder, &error))?;
        match self {
            Self::Tree { source, run } => {
                let sha = source.resolve().await?;
                let build = source.build.as_deref().unwrap_or_default();
                let text = format!(
                    "#!/bin/sh\n# Made by the keeper: {} at {sha}, built by a command with the SHA-256\n# {}\n\
                     cd -- \"${{0%/*}}/tree\" || exit 126\nexec sh -c {}\n",
                    plain(&source.url),
                    sha256(build.as_bytes()),
                    quote(run)
                );
                Ok((store(folder, &text)?, Some(sha)))
            }
            Self::Built { source, output, limit } => {
                let sha = source.resolve().await?;
                let built = source.build_here(&sha, &folder.join("tree"), *limit, output).await?;
                let target = folder.join(format!("built-{sha}"));
                std::fs::copy(&built, &target).map_err(|error| stored(&built, &error))?;
                Ok((target, Some(sha)))
            }
            Self::Image { image, commit } => {
                let text = format!(
                    "#!/bin/sh\n# Made by the keeper: the release is an image.\nimage={}\nexit 64\n",
                    quote(image)
                );
                Ok((store(folder, &text)?, commit.clone()))
            }
            Self::Archive { file, commit } => Ok((file.clone(), commit.clone())),
        }
    }
}

impl Source {
    /// The full hash.
    async fn resolve(&self) -> Result<String, DeployFault> {
        if is_full_hash(&self.rev) {
            return Ok(self.rev.to_ascii_lowercase());
        }
        let peeled = format!("{}^{{}}", self.rev);
        let told = git(None, &["ls-remote", "--", &self.url, &self.rev, &peeled], RESOLVE_LIMIT).await?;
        found_in(&told, &self.rev).ok_or_else(|| {
            DeployFault::Release(format!(
                "`{}` has neither branch nor tag `{}`",
                plain(&self.url),
                plain(&self.rev)
            ))
        })
    }

    async fn build_here(
        &self,
        sha: &str,
        tree: &Path,
        limit: Duration,
        output: &Path,
    ) -> Result<PathBuf, DeployFault> {
        if tree.exists() {
            std::fs::remove_dir_all(tree).map_err(|error| stored(tree, &error))?;
        }
        std::fs::create_dir_all(tree).map_err(|error| stored(tree, &error))?;
        let script = checkout(&self.url, sha);
        sh(tree, &script, limit, "the checkout").await?;
        if let Some(build) = &self.build {
            sh(tree, build, limit, "the build").await?;
        }
        Ok(tree.join(output))
    }
}

/// The commands that make the folder in which they run a clean tree of that commit, and nothing else.
pub(super) fn checkout(url: &str, sha: &str) -> String {
    format!(
        r#"command -v git >/dev/null 2>&1 || {{ echo "there is no git here" >&2; exit 127; }}
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1
url={url} sha={sha}
git init -q . || exit 1
# Not every server gives a single commit away.
git fetch -q --depth 1 -- "$url" "$sha" 2>fetch.log ||
  git fetch -q -- "$url" '+refs/heads/*:refs/remotes/origin/*' '+refs/tags/*:refs/tags/*' 2>>fetch.log || {{ cat fetch.log >&2; exit 69; }}
rm -f fetch.log
git checkout -q --detach "$sha" || exit 66
[ ! -f .gitmodules ] || git submodule -q update --init --recursive --depth 1 || exit 69
[ "$(git rev-parse HEAD)" = "$sha" ] || {{ echo "the tree is not at $sha" >&2; exit 65; }}
dirty=$(git status --porcelain) || exit 1
[ -z "$dirty" ] || {{ printf 'the tree is dirty after its checkout:\n%s\n' "$dirty" >&2; exit 65; }}
"#,
        url = quote(url),
        sha = quote(sha)
    )
}

/// Whether a text is a whole hash, SHA-1 or SHA-256.
#[must_use]
pub fn is_full_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The hash of a branch or tag in the output of `git ls-remote`; an annotated tag stands for the commit it points to.
fn found_in(told: &str, rev: &str) -> Option<String> {
    let lines = || told.lines().filter_map(|line| line.split_once('\t'));
    let of = |name: String| lines().find(|(_, found)| *found == name).map(|(hash, _)| hash.to_owned());
    let names = [
        format!("refs/tags/{rev}^{{}}"),
        format!("refs/heads/{rev}"),
        format!("refs/tags/{rev}"),
        rev.to_owned(),
    ];
    names.into_iter().find_map(of).filter(|hash| is_full_hash(hash))
}

async fn git(folder: Option<&Path>, args: &[&str], limit: Duration) -> Result<String, DeployFault> {
    let mut command = Command::new("git");
    command.args(args).env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).kill_on_drop(true);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    ended(command, limit, "git").await
}

/// Runs a command with nothing of the keeper's environment, which may hold its secrets, but what tools need to be found.
async fn sh(folder: &Path, script: &str, limit: Duration, what: &str) -> Result<String, DeployFault> {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    for name in ["PATH", "HOME", "LANG", "CARGO_HOME", "RUSTUP_HOME", "SSH_AUTH_SOCK"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    ended(command, limit, what).await
}

async fn ended(mut command: Command, limit: Duration, what: &str) -> Result<String, DeployFault> {
    let fault = |why: &dyn std::fmt::Display| DeployFault::Release(format!("{what} failed: {why}"));
    match timeout(limit, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(Ok(output)) => Err(fault(&tail(&output.stderr))),
        Ok(Err(error)) => Err(fault(&error)),
        Err(_) => Err(fault(&format!("it did not end within {} s", limit.as_secs()))),
    }
}

fn store(folder: &Path, text: &str) -> Result<PathBuf, DeployFault> {
    let path = folder.join(format!("launcher-{}", sha256(text.as_bytes()).get(..16).unwrap_or_default()));
    std::fs::write(&path, text).map_err(|error| stored(&path, &error))?;
    Ok(path)
}

fn stored(path: &Path, error: &std::io::Error) -> DeployFault {
    DeployFault::Release(format!("cannot use `{}`: {error}", path.display()))
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn a_name_is_resolved_to_the_commit_it_stands_for() {
        let told = format!("{A}\trefs/tags/v1\n{B}\trefs/tags/v1^{{}}\n{A}\trefs/heads/main\n");
        assert_eq!(found_in(&told, "v1").as_deref(), Some(B));
        assert_eq!(found_in(&told, "main").as_deref(), Some(A));
        assert_eq!(found_in(&told, "mai"), None);
        assert!(is_full_hash(A) && !is_full_hash("aaaa111") && !is_full_hash(&A.replace('a', "x")));
    }

    #[tokio::test]
    async fn another_part_of_the_recipe_is_another_release() {
        let folder = tempfile::tempdir().unwrap();
        let made = async |build: &str, run: &str| {
            let source =
                Source { url: "https://x.example/r.git".into(), rev: A.into(), build: Some(build.into()) };
            let (path, commit) = Recipe::Tree { source, run: run.into() }.make(folder.path()).await.unwrap();
            assert_eq!(commit.as_deref(), Some(A));
            std::fs::read_to_string(path).unwrap()
        };
        let first = made("make", "exec ./server").await;
        assert_eq!(first, made("make", "exec ./server").await);
        assert_ne!(first, made("make all", "exec ./server").await);
        assert_ne!(first, made("make", "exec ./server --fast").await);
    }

    #[tokio::test]
    async fn a_commit_is_built_here_in_a_clean_tree_without_the_keepers_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("repository");
        let run = |script: &str| {
            let output =
                std::process::Command::new("sh").args(["-c", script]).current_dir(&repository).output();
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        std::fs::create_dir(&repository).unwrap();
        let identity = "-c user.name=a -c user.email=a@b.c";
        run(&format!(
            "git init -q -b main . && echo one >file && git add . && git {identity} commit -qm one"
        ));
        let sha = run("git rev-parse HEAD");
        std::fs::write(repository.join("file"), "not committed").unwrap();
        let built = async |build: &str| {
            let source = Source {
                url: repository.display().to_string(),
                rev: "main".into(),
                build: Some(build.into()),
            };
            let recipe =
                Recipe::Built { source, output: "out/server".into(), limit: Duration::from_secs(30) };
            recipe.make(&folder.path().join("here")).await
        };
        let (path, commit) = built("mkdir out && (cat file; env) >out/server").await.unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!((text.lines().next(), commit.as_deref()), (Some("one"), Some(&*sha)));
        assert!(!text.contains("CARGO_MANIFEST_DIR"), "the build saw our environment");
        let fault = built("echo no such header >&2; exit 2").await.unwrap_err();
        assert!(
            matches!(&fault, DeployFault::Release(words) if words.contains("no such header")),
            "{fault:?}"
        );
        let hung = Recipe::Built {
            source: Source {
                url: repository.display().to_string(),
                rev: sha,
                build: Some("exec sleep 60".into()),
            },
            output: "x".into(),
            limit: Duration::from_secs(1),
        };
        let fault = hung.make(&folder.path().join("here")).await.unwrap_err();
        assert!(matches!(&fault, DeployFault::Release(words) if words.contains("did not end")), "{fault:?}");
    }
}
