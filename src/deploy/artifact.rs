//! The artifact: one executable file, built here, given or fetched, known by its SHA-256 and the commit baked into it.

use std::{
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    process::Command,
    time::{sleep, timeout},
};

use super::{
    fault::DeployFault,
    fetch::{Download, fetch},
    recipe::Recipe,
};

/// Digits of the digest that name a release folder: 48 bits, enough to tell the few releases of one box apart.
const NAME_DIGITS: usize = 12;
/// How long until a program that is still open for writing is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Limit for `--version`, which any server answers without starting anything.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// Beginnings of variables that `cargo run` and `cargo test` set for the program they start.
const TOLD_BY_CARGO: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
/// The commit of a binary that does not know its own.
const UNKNOWN_COMMIT: &str = "unknown";

/// Where the artifact comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSource {
    /// Built by cargo from a workspace.
    Build {
        /// The workspace's folder.
        workspace: PathBuf,
        /// The package, which is also the name of its binary.
        package: String,
        /// Cargo's profile, such as `release`.
        profile: String,
        /// Whether to link statically, so that the file runs on any Linux of its processor. A default build needs a
        /// glibc at least as new as that of the building machine, which rented images often lack.
        portable: bool,
    },
    /// A file that exists.
    File(PathBuf),
    /// A file that is fetched.
    Url(Download),
    /// Made by a recipe; what is made is kept in that folder.
    Recipe(Recipe, PathBuf),
}

/// What is deployed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 in lower-case hex.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// The commit it tells with `--version`, or `unknown`.
    pub commit: String,
    /// The processor it is for, as `uname -m` names it; `None` if the file does not tell.
    pub arch: Option<String>,
}

impl Artifact {
    /// Builds or takes the file and reads what identifies it.
    ///
    /// # Errors
    /// [`DeployFault::Release`] with the end of cargo's output, or with why the file cannot be used.
    pub async fn prepare(source: &ArtifactSource) -> Result<Self, DeployFault> {
        let mut known = None;
        let path = match source {
            ArtifactSource::Recipe(recipe, folder) => {
                let (path, commit) = recipe.make(folder).await?;
                known = Some(commit.unwrap_or_else(|| UNKNOWN_COMMIT.to_owned()));
                path
            }
            ArtifactSource::File(path) => path.clone(),
            ArtifactSource::Url(download) => fetch(download).await?,
            ArtifactSource::Build { workspace, package, profile, portable } => {
                build(workspace, package, profile, *portable).await?
            }
        };
        let unreadable =
            |error| DeployFault::Release(format!("cannot read the artifact `{}`: {error}", path.display()));
        let path = path.canonicalize().map_err(unreadable)?;
        let (digest, size, arch) = fingerprint(&path).await.map_err(unreadable)?;
        let commit = match known {
            Some(commit) => commit,
            None => commit_of(&path).await?,
        };
        Ok(Self { path, digest, size, commit, arch })
    }

    /// A file that was prepared before, and told its commit then: it is not run again.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn known(path: &Path, commit: String) -> io::Result<Self> {
        let path = path.canonicalize()?;
        let (digest, size, arch) = fingerprint(&path).await?;
        Ok(Self { path, digest, size, commit, arch })
    }

    /// The name of its release folder.
    #[must_use]
    pub fn name(&self) -> &str {
        self.digest.get(..NAME_DIGITS).unwrap_or(&self.digest)
    }

    /// Whether the file still is what was prepared.
    pub(super) async fn unchanged(&self) -> bool {
        matches!(fingerprint(&self.path).await, Ok((digest, ..)) if digest == self.digest)
    }
}

/// Digest, size and processor of a file.
pub(super) async fn fingerprint(path: &Path) -> io::Result<(String, u64, Option<String>)> {
    let mut file = File::open(path).await?;
    if !file.metadata().await?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut head = Vec::new();
    (&mut file).take(20).read_to_end(&mut head).await?;
    file.rewind().await?;
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        size += count as u64;
    }
    let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((digest, size, machine(&head)))
}

/// The processor of a little-endian ELF file (`e_machine`, ELF specification).
fn machine(head: &[u8]) -> Option<String> {
    let code = u16::from_le_bytes([*head.get(18)?, *head.get(19)?]);
    let name = match (head.starts_with(b"\x7fELF"), code) {
        (true, 62) => "x86_64",
        (true, 183) => "aarch64",
        _ => return None,
    };
    Some(name.to_owned())
}

/// SHA-256 in lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One line of cargo's `--message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<CargoTarget>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
}

async fn build(
    workspace: &Path,
    package: &str,
    profile: &str,
    portable: bool,
) -> Result<PathBuf, DeployFault> {
    let mut command = Command::new("cargo");
    command.args(["build", "--profile", profile, "--message-format=json-render-diagnostics", "-p", package]);
    command.args(["--bin", package]).current_dir(workspace).stdin(Stdio::null()).kill_on_drop(true);
    if portable {
        // With an explicit target the flags do not reach build scripts and procedural macros, which cannot be static.
        command.args(["--target", &format!("{}-unknown-linux-gnu", std::env::consts::ARCH)]);
        let given = std::env::var("RUSTFLAGS").unwrap_or_default();
        command.env("RUSTFLAGS", format!("{given} -C target-feature=+crt-static").trim());
    }
    // What cargo tells a program that it runs about that program's own package: build scripts watch some of it, and with
    // it everything would be built anew.
    for (name, _) in std::env::vars_os() {
        let told =
            name.to_str().is_some_and(|name| TOLD_BY_CARGO.iter().any(|prefix| name.starts_with(prefix)));
        if told {
            command.env_remove(name);
        }
    }
    let output = command.output().await.map_err(|error| {
        DeployFault::Release(format!(
            "cannot run cargo to build `{package}`: {error}; hint: install Rust, or give a file"
        ))
    })?;
    if !output.status.success() {
        return Err(DeployFault::Release(format!("building `{package}` failed: {}", tail(&output.stderr))));
    }
    executable(&output, package).ok_or_else(|| {
        DeployFault::Release(format!("cargo built no binary `{package}` in `{}`", workspace.display()))
    })
}

fn executable(output: &Output, package: &str) -> Option<PathBuf> {
    output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<CargoMessage>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter(|message| message.target.as_ref().is_some_and(|target| target.name == package))
        .find_map(|message| message.executable)
}

/// The last lines of a program's output.
pub(super) fn tail(bytes: &[u8]) -> String {
    const LINES: usize = 30;
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}

async fn commit_of(path: &Path) -> Result<String, DeployFault> {
    let cannot = |why: &dyn std::fmt::Display| {
        DeployFault::Release(format!("cannot run `{} --version`: {why}", path.display()))
    };
    let mut command = Command::new(path);
    // Nothing of the keeper's environment, which may hold its secrets, is lent to the artifact.
    command.arg("--version").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let run = async {
        loop {
            match command.output().await {
                // A program that was just fetched is open for writing until children that were started meanwhile are
                // programs of their own.
                Err(fault) if fault.kind() == io::ErrorKind::ExecutableFileBusy => sleep(BUSY_PAUSE).await,
                ran => return ran,
            }
        }
    };
    let output = match timeout(VERSION_LIMIT, run).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(cannot(&error)),
        Err(_) => return Err(cannot(&"it does not end, or somebody holds it open for writing")),
    };
    if !output.status.success() {
        return Err(cannot(&tail(&output.stderr)));
    }
    Ok(commit_in(&String::from_utf8_lossy(&output.stdout)).unwrap_or_else(|| UNKNOWN_COMMIT.to_owned()))
}

/// The commit in a `--version` text such as `duel-server 0.1.0 (commit 1a2b3c4)`: the word after `commit`, or else the
/// first word that looks like an abbreviated hash.
fn commit_in(text: &str) -> Option<String> {
    let words = || text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let named = words().skip_while(|word| !word.eq_ignore_ascii_case("commit")).nth(1);
    let hash = |word: &&str| {
        (7..=64).contains(&word.len())
            && word.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
            && word.bytes().any(|c| c.is_ascii_digit())
    };
    named.or_else(|| words().find(hash)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("server");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_commit_is_found_in_what_programs_print() {
        let commit = |text: &str| commit_in(text);
        assert_eq!(commit("duel-server 0.1.0 (commit 1a2b3c4)\n").as_deref(), Some("1a2b3c4"));
        assert_eq!(commit("duel-server 0.1.0\ncommit: unknown\n").as_deref(), Some("unknown"));
        assert_eq!(commit("app 2.0 1a2b3c4d5e6f70819\n").as_deref(), Some("1a2b3c4d5e6f70819"));
        assert_eq!(commit("app 2.0.1\n"), None);
        assert_eq!(commit("app deadbeef facade\n"), None, "words are not hashes");
    }

    #[tokio::test]
    async fn a_file_is_known_by_its_digest_and_its_own_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = script(folder.path(), "#!/bin/sh\necho \"server 1.0 (commit abc1234) $SECRET\"\n");
        let artifact = Artifact::prepare(&ArtifactSource::File(path.clone())).await.unwrap();
        assert_eq!((artifact.commit.as_str(), artifact.arch.as_deref()), ("abc1234", None));
        assert_eq!(artifact.size, std::fs::metadata(&path).unwrap().len());
        assert_eq!((artifact.digest.len(), artifact.name().len()), (64, 12));
        assert!(artifact.unchanged().await);
        script(folder.path(), "#!/bin/sh\necho other\n");
        assert!(!artifact.unchanged().await);
    }

    #[tokio::test]
    async fn what_cannot_be_deployed_is_the_releases_fault() {
        let folder = tempfile::tempdir().unwrap();
        let refused = async |source: ArtifactSource| match Artifact::prepare(&source).await.unwrap_err() {
            DeployFault::Release(detail) => detail,
            other => panic!("{other:?}"),
        };
        assert!(refused(ArtifactSource::File(folder.path().join("absent"))).await.contains("absent"));
        assert!(refused(ArtifactSource::File(folder.path().into())).await.contains("not a file"));
        let broken = script(folder.path(), "#!/bin/sh\necho no such setting >&2; exit 1\n");
        assert!(refused(ArtifactSource::File(broken)).await.contains("no such setting"));
        let build = ArtifactSource::Build {
            workspace: folder.path().into(),
            package: "nothing".into(),
            profile: "release".into(),
            portable: false,
        };
        assert!(refused(build).await.contains("Cargo.toml"));
    }

    #[test]
    fn the_processor_is_read_from_the_file() {
        let mut head = [0; 20];
        head[..4].copy_from_slice(b"\x7fELF");
        head[18] = 62;
        assert_eq!(machine(&head).as_deref(), Some("x86_64"));
        head[18] = 183;
        assert_eq!(machine(&head).as_deref(), Some("aarch64"));
        assert_eq!(machine(b"#!/bin/sh"), None);
    }
}
