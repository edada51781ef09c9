//! Where a rollout is written down: `<state>/rollouts/<id>.jsonl`, a line for its brief and one for each thing that happened,
//! each synced before what follows from it is done. One runner at a time holds the folder's lock; the lock ends with its process,
//! however that ends. Wishes of people reach a runner through a file beside it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    crash::{self, Point},
    file_lock::FileLock,
    fleet::{
        rollout::{Brief, Happened, Rollout},
        units::Timestamp,
    },
};

/// The folder of all rollouts.
#[derive(Debug, Clone)]
pub(super) struct Books {
    folder: PathBuf,
}

/// What a person wants of a rollout under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "wish")]
pub(super) enum Wish {
    Pause { by: String },
    Continue { by: String },
    Abort { by: String, back: bool },
}

impl Wish {
    /// What it means to the rollout.
    pub(super) fn happened(self) -> Happened {
        match self {
            Self::Pause { by } => Happened::Paused { why: format!("{by} wants it so"), by },
            Self::Continue { by } => Happened::Continued { by },
            Self::Abort { by, back } => Happened::Aborted { by, back },
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Line<T> {
    at: Timestamp,
    #[serde(flatten)]
    what: T,
}

/// The right to run rollouts, while it lives.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "held for its lock")] FileLock);

/// One rollout being written.
#[derive(Debug)]
pub(super) struct Book {
    file: File,
    pub rollout: Rollout,
}

impl Books {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("rollouts") }
    }

    /// The lock, or `None` while another runner holds it.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.folder.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        Ok(FileLock::try_new(file)?.ok().map(Lock))
    }

    /// Whether a runner is under way.
    pub(super) fn is_run(&self) -> io::Result<bool> {
        Ok(self.lock()?.is_none())
    }

    /// A number for a rollout that begins now.
    pub(super) fn fresh_id(&self, now: Timestamp) -> String {
        let mut second = now.0 / 1000;
        while self.path(&format!("r{second}")).exists() {
            second += 1;
        }
        format!("r{second}")
    }

    /// Begins a rollout. The lock proves that nobody else does.
    pub(super) fn begin(&self, _: &Lock, brief: Brief, at: Timestamp) -> io::Result<Book> {
        let path = self.path(&brief.id);
        let mut file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        append(&mut file, &Line { at, what: &brief })?;
        // The name must be as durable as what it names.
        File::open(&self.folder)?.sync_all()?;
        let _ = fs::remove_file(self.wishes());
        Ok(Book { file, rollout: Rollout::new(brief, at) })
    }

    /// Takes up the newest rollout that has not ended. A wish that its runner died over was another one's; the newest counts.
    pub(super) fn take_up(&self, _: &Lock) -> io::Result<Option<Book>> {
        let Some(rollout) = self.newest()?.filter(|rollout| rollout.ending.is_none()) else {
            return Ok(None);
        };
        let _ = fs::remove_file(self.wishes());
        let path = self.path(&rollout.brief.id);
        trim(&path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Some(Book { file, rollout }))
    }

    /// The newest rollout as it stands.
    pub(super) fn newest(&self) -> io::Result<Option<Rollout>> {
        match self.ids()?.last() {
            Some(id) => self.read(id).map(Some),
            None => Ok(None),
        }
    }

    /// Every rollout's number, oldest first: they begin with their time.
    pub(super) fn ids(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(fault) => return Err(fault),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            ids.extend(name.to_str().and_then(|name| name.strip_suffix(".jsonl")).map(str::to_owned));
        }
        ids.sort();
        Ok(ids)
    }

    /// One rollout, folded from its lines. A last line that was cut by a crash never happened.
    pub(super) fn read(&self, id: &str) -> io::Result<Rollout> {
        let mut lines = BufReader::new(File::open(self.path(id))?).split(b'\n');
        let strange =
            |why: String| io::Error::new(io::ErrorKind::InvalidData, format!("rollout `{id}`: {why}"));
        let first = lines.next().ok_or_else(|| strange("it is empty".into()))??;
        let first: Line<Brief> =
            serde_json::from_slice(&first).map_err(|fault| strange(fault.to_string()))?;
        let mut rollout = Rollout::new(first.what, first.at);
        let mut lines = lines.peekable();
        while let Some(line) = lines.next() {
            let line = line?;
            match serde_json::from_slice::<Line<Happened>>(&line) {
                Ok(line) => rollout.apply(line.at, &line.what).map_err(|fault| strange(fault.to_string()))?,
                Err(_) if lines.peek().is_none() => {}
                Err(fault) => return Err(strange(fault.to_string())),
            }
        }
        Ok(rollout)
    }

    /// Leaves a wish for the runner under way; the newest one counts.
    pub(super) fn wish(&self, wish: &Wish) -> io::Result<()> {
        let fresh = self.folder.join(format!(".wish-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(wish)?)?;
        fs::rename(fresh, self.wishes())
    }

    /// Takes the wish that was left, if one was.
    pub(super) fn wished(&self) -> Option<Wish> {
        let taken = self.folder.join(".wish-taken");
        fs::rename(self.wishes(), &taken).ok()?;
        let wish = fs::read(&taken).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let _ = fs::remove_file(taken);
        wish
    }

    /// Whether a wish was left.
    pub(super) fn has_wish(&self) -> bool {
        self.wishes().exists()
    }

    fn wishes(&self) -> PathBuf {
        self.folder.join("wish")
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.jsonl"))
    }
}

impl Book {
    /// Writes down what happened, durably, and folds it in.
    pub(super) fn note(&mut self, at: Timestamp, happened: &Happened) -> io::Result<()> {
        let mut after = self.rollout.clone();
        after.apply(at, happened).map_err(|fault| io::Error::other(fault.to_string()))?;
        append(&mut self.file, &Line { at, what: happened })?;
        self.rollout = after;
        crash::at(Point::Rollout(happened.word()));
        Ok(())
    }
}

fn append<T: Serialize>(file: &mut File, line: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_data()
}

/// Cuts off a last line that was not written whole, so that the next one stands alone.
fn trim(path: &Path) -> io::Result<()> {
    let bytes = fs::read(path)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{
        deployed::Placed,
        name::HostId,
        rollout::{Member, NodeResult, Plan, Terms},
    };

    fn brief(id: &str) -> Brief {
        let release = Placed { name: "n".into(), digest: "d".into(), commit: "c".into() };
        let members = vec![Member { node: "duel-0".parse().unwrap(), host: HostId(1) }];
        let (plan, terms) = (Plan::default(), Terms::default());
        Brief { id: id.into(), by: "anna".into(), release, plan, terms, members }
    }

    #[test]
    fn what_is_written_down_is_read_again_and_a_torn_line_never_happened() {
        let folder = tempfile::tempdir().unwrap();
        let books = Books::new(folder.path());
        assert_eq!(books.newest().unwrap(), None);
        let lock = books.lock().unwrap().unwrap();
        assert!(books.lock().unwrap().is_none(), "there is one runner");
        let mut book = books.begin(&lock, brief("r1"), Timestamp(5)).unwrap();
        let nodes = vec!["duel-0".parse().unwrap()];
        book.note(Timestamp(6), &Happened::Started { nodes }).unwrap();
        let before = book.rollout.clone();
        assert_eq!(books.newest().unwrap().unwrap(), before);

        let path = folder.path().join("rollouts/r1.jsonl");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"at\":7,\"what\":\"ended\",\"no").unwrap();
        drop((book, lock));
        // Another test that starts a program at this moment holds a copy of every open file until its exec.
        let lock = (0..1_000_000).find_map(|_| {
            std::thread::yield_now();
            books.lock().unwrap()
        });
        let lock = lock.unwrap();
        let mut book = books.take_up(&lock).unwrap().unwrap();
        assert_eq!(book.rollout, before);
        let result = NodeResult::Done { changed: true };
        book.note(Timestamp(8), &Happened::Ended { node: "duel-0".parse().unwrap(), result }).unwrap();
        assert_eq!(books.read("r1").unwrap(), book.rollout);
        assert!(book.note(Timestamp(9), &Happened::Started { nodes: vec!["x".parse().unwrap()] }).is_err());
        assert_eq!(books.read("r1").unwrap(), book.rollout, "what cannot be is not written");

        // Damage in the middle is no torn end: it is told, not guessed at.
        let text = fs::read_to_string(&path).unwrap().replacen("started", "startled", 1);
        fs::write(&path, text).unwrap();
        assert!(books.read("r1").is_err());
    }

    #[test]
    fn the_newest_wish_counts_and_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let books = Books::new(folder.path());
        let _lock = books.lock().unwrap();
        assert_eq!(books.wished(), None);
        books.wish(&Wish::Pause { by: "anna".into() }).unwrap();
        books.wish(&Wish::Abort { by: "berta".into(), back: true }).unwrap();
        assert_eq!(books.wished(), Some(Wish::Abort { by: "berta".into(), back: true }));
        assert_eq!(books.wished(), None);
    }

    #[test]
    fn a_wish_that_a_runner_died_over_is_not_the_next_ones() {
        let folder = tempfile::tempdir().unwrap();
        let books = Books::new(folder.path());
        let lock = books.lock().unwrap().unwrap();
        assert!(books.is_run().unwrap());
        let id = books.fresh_id(Timestamp(7_000));
        books.begin(&lock, brief(&id), Timestamp(7_000)).unwrap();
        assert_ne!(books.fresh_id(Timestamp(7_999)), id, "two of one second");
        books.wish(&Wish::Abort { by: "anna".into(), back: true }).unwrap();
        drop(lock);
        let lock = books.lock().unwrap().unwrap();
        books.take_up(&lock).unwrap().unwrap();
        assert_eq!(books.wished(), None);
    }
}
