//! The way to a box, which can be cut: a TCP proxy before its SSH server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What becomes of the connections of an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Going,
    Cut,
    /// They stay, and nothing comes through any more: as a router does that has forgotten them.
    Silent,
}

/// The way to one box. Ends with the runtime.
pub(super) struct Way {
    pub port: u16,
    /// The fate of the connections that there are; those to come have the next one's.
    age: watch::Sender<watch::Sender<Fate>>,
    closed: Arc<AtomicBool>,
}

impl Way {
    pub(super) async fn to(ssh_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (age, ages) = watch::channel(watch::channel(Fate::Going).0);
        let closed = Arc::new(AtomicBool::new(false));
        let refuses = Arc::clone(&closed);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Accepted and dropped at once is as good as refused.
                if !refuses.load(Ordering::SeqCst) {
                    tokio::spawn(carry(stream, ssh_port, ages.borrow().subscribe()));
                }
            }
        });
        Self { port, age, closed }
    }

    fn end(&self, fate: Fate) {
        let ended = self.age.send_replace(watch::channel(Fate::Going).0);
        ended.send_replace(fate);
    }

    /// Ends what is connected; a new connection comes through.
    pub(super) fn cut(&self) {
        self.end(Fate::Cut);
    }

    /// Lets nothing more through on what is connected, and does not say so; a new connection comes through.
    pub(super) fn falls_silent(&self) {
        self.end(Fate::Silent);
    }

    /// Ends what is connected, and lets nobody in until it is opened.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub(super) fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
    }
}

async fn carry(mut near: TcpStream, ssh_port: u16, mut fate: watch::Receiver<Fate>) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", ssh_port)).await else { return };
    let ended = async { fate.wait_for(|fate| *fate != Fate::Going).await.map(|fate| *fate) };
    let silent = tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => false,
        found = ended => found.is_ok_and(|fate| fate == Fate::Silent),
    };
    if silent {
        // The box's end is closed after a while, as its own server would; the near one never hears of it.
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(far);
        std::future::pending::<()>().await;
    }
}
