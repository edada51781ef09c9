//! Evidence of condemned boxes: taken aside before the destroy, scrubbed, and kept in the state folder for a while.
//!
//! It never delays a destroy beyond the core's own deadline, and a box that gives none is destroyed all the same.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::fleet::name::{IncidentId, InstanceId, NodeName};

/// Bytes kept of one box.
const BYTES_MOST: usize = 192 * 1024;
/// Boxes kept; the oldest go first.
const FILES_MOST: usize = 200;
/// How long they are kept.
const KEEP_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// What their files end with.
const SUFFIX: &str = ".txt";

/// Strikes known secrets out of a text.
pub type Scrub = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Where evidence is kept.
#[derive(Clone)]
pub struct EvidenceRoom {
    /// The folder, made on first use for the keeper's user alone.
    pub folder: PathBuf,
    /// Strikes the configured secrets out.
    pub scrub: Scrub,
}

/// The name of a box's file: by incident first, so that a story finds its own.
#[must_use]
pub fn file_name(incident: Option<IncidentId>, node: &NodeName, instance: InstanceId) -> String {
    let incident = incident.map_or_else(|| "filling".to_owned(), |incident| format!("incident-{incident}"));
    format!("{incident}-{node}-{instance}{SUFFIX}")
}

/// The files of an incident in a folder, oldest name first.
#[must_use]
pub fn of_incident(folder: &Path, incident: u64) -> Vec<PathBuf> {
    let prefix = format!("incident-{incident}-");
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(&prefix) && name.ends_with(SUFFIX)
    };
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(ours).collect();
    files.sort();
    files
}

impl EvidenceRoom {
    /// Keeps a text under a name; returns where, and how many bytes.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub async fn keep(&self, name: String, text: String) -> io::Result<(PathBuf, usize)> {
        let room = self.clone();
        let kept = tokio::task::spawn_blocking(move || room.write(&name, &text)).await;
        kept.map_err(io::Error::other)?
    }

    fn write(&self, name: &str, text: &str) -> io::Result<(PathBuf, usize)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let text = plain(&(self.scrub)(text));
        let path = self.folder.join(name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_bytes())?;
        self.prune()?;
        Ok((path, text.len()))
    }

    /// Removes what is too old or too much.
    fn prune(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if entry.file_name().to_string_lossy().ends_with(SUFFIX) {
                files.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        files.sort();
        let newest = files.last().map(|(at, _)| *at);
        let surplus = files.len().saturating_sub(FILES_MOST);
        for (index, (at, path)) in files.iter().enumerate() {
            let age = newest.and_then(|newest| newest.duration_since(*at).ok()).unwrap_or_default();
            if index < surplus || age > KEEP_FOR {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// The text as it may stand on a terminal: no control characters but line ends and tabs, and its end if it is too long.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let Some(surplus) = text.len().checked_sub(BYTES_MOST).filter(|surplus| *surplus > 0) else {
        return text;
    };
    let from = (surplus..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("(the first {from} bytes are left out)\n{}", text.get(from..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(folder: &Path) -> EvidenceRoom {
        let scrub: Scrub = Arc::new(|text| text.replace("hunter22", "***"));
        EvidenceRoom { folder: folder.join("evidence"), scrub }
    }

    #[tokio::test]
    async fn what_is_kept_is_scrubbed_plain_bounded_and_found_by_its_incident() {
        let folder = tempfile::tempdir().unwrap();
        let room = room(folder.path());
        let node: NodeName = "duel-0".parse().unwrap();
        let name = file_name(Some(IncidentId(7)), &node, InstanceId(9));
        let text = format!("code hunter22\u{1b}[2J\n{}end", "ä".repeat(BYTES_MOST));
        let (path, bytes) = room.keep(name, text).await.unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert!(kept.len() == bytes && bytes < BYTES_MOST + 100 && kept.ends_with("end"));
        let (path, _) = room
            .keep(file_name(Some(IncidentId(7)), &node, InstanceId(10)), "code hunter22\u{1b}".into())
            .await
            .unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "code ***");
        room.keep(file_name(Some(IncidentId(70)), &node, InstanceId(9)), "other".into()).await.unwrap();
        assert_eq!(of_incident(&room.folder, 7).len(), 2);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn the_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let room = room(folder.path());
        for number in 0..FILES_MOST as u64 + 5 {
            let name = file_name(Some(IncidentId(number)), &"duel-0".parse().unwrap(), InstanceId(1));
            let (path, _) = room.keep(name, "x".into()).await.unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + number);
            fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
        }
        // The last one's own time was set after it was written, so one more settles it.
        assert!(of_incident(&room.folder, 0).is_empty());
        let left = fs::read_dir(&room.folder).unwrap().count();
        assert!(left <= FILES_MOST, "{left}");
    }
}
