//! The one thread that owns the connection, behind a bounded queue.

use std::io;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Head, StoreError};
use crate::file_lock::FileLock;

/// Jobs that may wait; whoever wants to add one more waits too. A commit takes under a millisecond on a usual disk.
const QUEUE: usize = 256;

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

enum Message {
    Work(Job),
    Close(oneshot::Sender<()>),
}

/// What only the thread touches.
#[derive(Debug)]
pub(super) struct Writer {
    pub connection: Connection,
    pub head: watch::Sender<Head>,
    poisoned: bool,
    // Held for its lock, which ends with it.
    _lock: Option<FileLock>,
}

impl Writer {
    /// Runs one durable transaction. Any failure in it, at the commit above all, poisons the writer.
    pub fn change<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if self.poisoned {
            return Err(StoreError::Poisoned);
        }
        let result = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .and_then(|change| work(&change).and_then(|done| change.commit().map(|()| done)));
        result.map_err(|source| {
            self.poisoned = true;
            StoreError::write(source)
        })
    }
}

/// The typed end of the queue.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    queue: mpsc::Sender<Message>,
}

impl Handle {
    pub fn spawn(
        connection: Connection,
        lock: Option<FileLock>,
        head: watch::Sender<Head>,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = Writer { connection, head, poisoned: false, _lock: lock };
        // The thread ends with the last handle; nobody needs to join it, since a commit is acknowledged one by one.
        std::thread::Builder::new().name("store".into()).spawn(move || serve(writer, jobs))?;
        Ok(Self { queue })
    }

    /// Runs `work` on the thread and returns its result.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, result) = oneshot::channel();
        let job: Job = Box::new(move |writer| {
            // A caller that went away does not want the answer.
            let _ = answer.send(work(writer));
        });
        self.queue.send(Message::Work(job)).await.map_err(|_| StoreError::Closed)?;
        result.await.map_err(|_| StoreError::Closed)?
    }

    pub async fn close(&self) {
        let (answer, closed) = oneshot::channel();
        if self.queue.send(Message::Close(answer)).await.is_ok() {
            // An error means that the thread is gone already, which is what was asked for.
            let _ = closed.await;
        }
    }
}

fn serve(mut writer: Writer, mut jobs: mpsc::Receiver<Message>) {
    let mut asked = None;
    while let Some(message) = jobs.blocking_recv() {
        match message {
            Message::Work(job) => job(&mut writer),
            Message::Close(answer) => {
                asked = Some(answer);
                break;
            }
        }
    }
    // Closing the last connection checkpoints; the lock must outlive that.
    let Writer { connection, _lock: lock, .. } = writer;
    if let Err((_, error)) = connection.close() {
        tracing::warn!(error = &error as &dyn std::error::Error, "the store did not close cleanly");
    }
    drop(lock);
    drop(jobs);
    if let Some(answer) = asked {
        let _ = answer.send(());
    }
}
