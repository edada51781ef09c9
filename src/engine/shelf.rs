//! Releases kept here as they were verified: the program with its settings and its method, so that healing can put on a new box
//! what the old one ran, whatever the configuration says by now.
//!
//! `<state>/releases/<program12>-<settings12>/{server,settings.json,release.json}`, open to the keeper's own user only: settings
//! hold secrets, as the environment file they came from does. A release appears whole, by one rename.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    deploy::{Artifact, Method},
    fleet::deployed::Placed,
};

/// Releases kept; the least recently verified go first.
const KEPT: usize = 12;
const PROGRAM: &str = "server";
const SETTINGS: &str = "settings.json";
const RELEASE: &str = "release.json";

/// The server's settings, by name.
pub type ServerEnv = BTreeMap<String, SecretString>;

/// Where verified releases are kept.
#[derive(Debug, Clone)]
pub struct Shelf {
    folder: PathBuf,
    /// Two nodes that take a release at once keep it one after the other: they write by the same names.
    writing: Arc<Mutex<()>>,
}

/// What is on the shelf, as its own file tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Label {
    #[serde(flatten)]
    release: Placed,
    /// How it is put on a box; what was kept by an older keeper does not tell.
    #[serde(default)]
    method: Option<Method>,
}

/// A release that was kept.
#[derive(Debug, Clone)]
pub struct KeptRelease {
    /// Its program, or what stands for it.
    pub artifact: Arc<Artifact>,
    /// Its settings.
    pub env: ServerEnv,
    /// How it is put on a box; `None` for one that was kept before methods were: then the configured one is meant.
    pub method: Option<Method>,
}

impl Shelf {
    /// The shelf in a state folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("releases"), writing: Arc::default() }
    }

    /// Keeps a release that was just verified; one that is kept already counts as the newest.
    ///
    /// # Errors
    /// It cannot be written; nothing half-written is ever taken for a release.
    pub async fn put(
        &self,
        release: &Placed,
        artifact: &Artifact,
        env: &ServerEnv,
        method: &Method,
    ) -> io::Result<()> {
        let (shelf, program) = (self.clone(), artifact.path.clone());
        let label = Label { release: release.clone(), method: Some(method.clone()) };
        let settings: BTreeMap<&String, &str> =
            env.iter().map(|(name, value)| (name, value.expose_secret())).collect();
        let settings = secrecy::zeroize::Zeroizing::new(serde_json::to_vec(&settings)?);
        blocking(move || shelf.store(&label, &program, &settings)).await
    }

    /// A release with its settings and its method, if it is kept and still is what it was.
    ///
    /// # Errors
    /// It is kept and cannot be read, or was changed since.
    pub async fn take(&self, name: &str) -> io::Result<Option<KeptRelease>> {
        let folder = self.place(name)?;
        let read = folder.clone();
        let found = blocking(move || match fs::read(read.join(RELEASE)) {
            Ok(label) => Ok(Some((label, secrecy::zeroize::Zeroizing::new(fs::read(read.join(SETTINGS))?)))),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(fault) => Err(fault),
        });
        let Some((label, settings)) = found.await? else { return Ok(None) };
        let label: Label = serde_json::from_slice(&label)?;
        let settings: BTreeMap<String, String> = serde_json::from_slice(&settings)?;
        // Not run again: what is a launcher here may only run on a box.
        let artifact = Artifact::known(&folder.join(PROGRAM), label.release.commit.clone()).await?;
        if artifact.digest != label.release.digest {
            return Err(io::Error::other(format!("the kept release `{name}` was changed")));
        }
        let env = settings.into_iter().map(|(name, value)| (name, value.into())).collect();
        Ok(Some(KeptRelease { artifact: Arc::new(artifact), env, method: label.method }))
    }

    /// The releases kept whose name begins so, or whose commit it is, newest first.
    ///
    /// # Errors
    /// The shelf cannot be read.
    pub async fn named(&self, beginning: &str) -> io::Result<Vec<Placed>> {
        let (shelf, beginning) = (self.clone(), beginning.to_owned());
        blocking(move || {
            let mut named = Vec::new();
            for (_, path) in shelf.kept()? {
                let label = fs::read(path.join(RELEASE)).ok();
                let label = label.and_then(|label| serde_json::from_slice::<Label>(&label).ok());
                let Some(Label { release, .. }) = label else { continue };
                // One that was being written when its writer died stands under another name.
                let whole = path.file_name().is_some_and(|name| *name == *release.name);
                if whole && (release.name.starts_with(&beginning) || release.commit == beginning) {
                    named.push(release);
                }
            }
            Ok(named)
        })
        .await
    }

    /// The program of a release by its digest, whatever settings it was kept with, newest first.
    ///
    /// # Errors
    /// The shelf cannot be read.
    pub async fn program(&self, digest: &str) -> io::Result<Option<PathBuf>> {
        let (shelf, digest) = (self.clone(), digest.to_owned());
        blocking(move || {
            let kept = shelf.kept()?.into_iter().map(|(_, path)| path);
            let of = |path: &PathBuf| {
                let label = fs::read(path.join(RELEASE)).ok();
                let label = label.and_then(|label| serde_json::from_slice::<Label>(&label).ok());
                label.is_some_and(|label| label.release.digest == digest)
            };
            Ok(kept.into_iter().find(of).map(|path| path.join(PROGRAM)))
        })
        .await
    }

    /// Names come from journals and boxes; none may lead out of the folder.
    fn place(&self, name: &str) -> io::Result<PathBuf> {
        let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if plain { Ok(self.folder.join(name)) } else { Err(io::Error::other("not a release's name")) }
    }

    fn store(&self, label: &Label, program: &Path, settings: &[u8]) -> io::Result<()> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let release = &label.release;
        let place = self.place(&release.name)?;
        let label = serde_json::to_vec_pretty(label)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        if place.join(RELEASE).is_file() {
            // The folder's age is what is counted: writing a file anew by a rename makes it young.
            replace(&place.join(RELEASE), &label)?;
            return self.prune();
        }
        let fresh = self.folder.join(format!(".{}-{}", release.name, std::process::id()));
        let _ = fs::remove_dir_all(&fresh);
        fs::DirBuilder::new().mode(0o700).create(&fresh)?;
        fs::copy(program, fresh.join(PROGRAM))?;
        fs::set_permissions(fresh.join(PROGRAM), fs::Permissions::from_mode(0o700))?;
        fs::File::open(fresh.join(PROGRAM))?.sync_all()?;
        write(&fresh.join(SETTINGS), settings)?;
        write(&fresh.join(RELEASE), &label)?;
        match fs::rename(&fresh, &place) {
            Ok(()) => {}
            // Somebody else kept it in the meantime.
            Err(_) if place.join(RELEASE).is_file() => drop(fs::remove_dir_all(&fresh)),
            Err(fault) => return Err(fault),
        }
        self.prune()
    }

    /// What is kept, newest first.
    fn kept(&self) -> io::Result<Vec<(SystemTime, PathBuf)>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(fault) => return Err(fault),
        };
        let mut kept = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if let Ok(known) = fs::metadata(path.join(RELEASE)).and_then(|found| found.modified()) {
                kept.push((known, path));
            }
        }
        kept.sort_by(|a, b| b.cmp(a));
        Ok(kept)
    }

    fn prune(&self) -> io::Result<()> {
        for (_, path) in self.kept()?.into_iter().skip(KEPT) {
            fs::remove_dir_all(path)?;
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension(format!("{}", std::process::id()));
    write(&fresh, bytes)?;
    fs::rename(fresh, path)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::{ArtifactSource, Backup, ImagePull, Manager, Strategy, TreeBuild};

    async fn program(folder: &Path, commit: &str) -> Artifact {
        let path = folder.join(format!("server-{commit}"));
        fs::write(&path, format!("#!/bin/sh\necho \"server 1 (commit {commit})\"\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Artifact::prepare(&ArtifactSource::File(path)).await.unwrap()
    }

    fn named(artifact: &Artifact, settings: &str) -> Placed {
        let name = format!("{}-{settings}", artifact.name());
        Placed { name, digest: artifact.digest.clone(), commit: artifact.commit.clone() }
    }

    #[tokio::test]
    async fn what_was_verified_is_taken_again_with_its_settings_and_readable_by_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path());
        let artifact = program(folder.path(), "abc1234").await;
        let env: ServerEnv = [("TOKEN".to_owned(), SecretString::from("it's \"secret\"\n"))].into();
        let release = named(&artifact, "5e77195e7719");
        let method = Method { manager: Manager::Systemd { service: "duel".into() }, ..Method::default() };
        shelf.put(&release, &artifact, &env, &method).await.unwrap();
        shelf.put(&release, &artifact, &env, &method).await.unwrap();
        // The file it came from is another one by now.
        fs::write(&artifact.path, "#!/bin/sh\necho other\n").unwrap();
        let taken = shelf.take(&release.name).await.unwrap().unwrap();
        let kept = &taken.artifact;
        assert_eq!((kept.digest.as_str(), kept.commit.as_str()), (artifact.digest.as_str(), "abc1234"));
        assert_eq!(taken.env["TOKEN"].expose_secret(), "it's \"secret\"\n");
        assert_eq!(taken.method, Some(method));
        let place = folder.path().join("releases").join(&release.name);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
        assert_eq!((mode(&place), mode(&place.join(SETTINGS)), mode(&place.join(PROGRAM))), (0, 0, 0));
        assert_eq!(shelf.program(&artifact.digest).await.unwrap(), Some(place.join(PROGRAM)));
        assert_eq!(shelf.program("ff").await.unwrap(), None);

        fs::write(place.join(PROGRAM), "#!/bin/sh\necho changed\n").unwrap();
        assert!(shelf.take(&release.name).await.unwrap_err().to_string().contains("changed"));
        assert!(shelf.take("absent").await.unwrap().is_none());
        for outside in ["../x", "", "a/b", "."] {
            assert!(shelf.take(outside).await.is_err(), "{outside:?}");
        }
    }

    #[tokio::test]
    async fn what_was_built_or_pulled_is_taken_with_its_commit_or_its_digest_under_the_rules_of_now() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path());
        let artifact = program(folder.path(), "abc1234").await;
        let limit = std::time::Duration::from_secs(60);
        let image = "registry.example.org/duel@sha256:aa".to_owned();
        let engine = "podman".to_owned();
        let ways = [
            (
                Strategy::Git(TreeBuild {
                    url: "https://git.example.org/duel".into(),
                    build: Some("make".into()),
                    limit,
                }),
                Manager::Supervised,
            ),
            (
                Strategy::Docker(ImagePull {
                    engine: engine.clone(),
                    image: image.clone(),
                    archive: false,
                    limit,
                }),
                Manager::Docker {
                    engine,
                    service: "duel".into(),
                    image,
                    options: vec!["--network=host".into()],
                },
            ),
        ];
        let strict = vec!["LATER".parse().unwrap()];
        for (at, (strategy, manager)) in ways.into_iter().enumerate() {
            let release = named(&artifact, &format!("{at:012}"));
            let then = Method { strategy, manager, ..Method::default() };
            shelf.put(&release, &artifact, &ServerEnv::new(), &then).await.unwrap();
            let kept = shelf.take(&release.name).await.unwrap().unwrap().method.unwrap();
            let now = Method {
                backup: Backup { keep: 9, ..Backup::default() },
                required: strict.clone(),
                ..Method::default()
            };
            let used = kept.under(&now);
            assert_eq!((&used.strategy, &used.manager), (&then.strategy, &then.manager));
            assert_eq!((used.backup.keep, used.required.len()), (9, 0), "no demand of today ends a healing");
        }
        // As an older keeper has left it.
        let release = named(&artifact, &format!("{:012}", 1));
        let label = folder.path().join("releases").join(&release.name).join(RELEASE);
        fs::write(&label, serde_json::to_vec(&release).unwrap()).unwrap();
        assert_eq!(shelf.take(&release.name).await.unwrap().unwrap().method, None);
    }

    #[tokio::test]
    async fn the_shelf_stays_short_and_whatever_is_half_written_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path());
        let artifact = program(folder.path(), "abc1234").await;
        for number in 0..20 {
            let release = named(&artifact, &format!("{number:012}"));
            shelf.put(&release, &artifact, &ServerEnv::new(), &Method::default()).await.unwrap();
        }
        assert_eq!(shelf.kept().unwrap().len(), KEPT);
        let newest = named(&artifact, &format!("{:012}", 19));
        assert!(shelf.take(&newest.name).await.unwrap().is_some());
        fs::create_dir(folder.path().join("releases/half-done")).unwrap();
        assert!(shelf.take("half-done").await.unwrap().is_none());
    }
}
