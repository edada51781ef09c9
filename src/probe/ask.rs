//! One question and its whole answer: connect, request, bounded read. The caller limits the time.
//!
//! The asking task does it all itself, without a task or a pool for the connection: dropping the question drops the
//! socket, which is how a timeout and an abandoned probe end. While nothing comes nothing is buffered.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

use super::reader::{Page, Reader};

/// Probes over one kept connection before a new one is opened: a listener that died behind a living connection must not
/// stay unnoticed.
const REUSE_MAX: u32 = 10;

/// Bytes taken from a socket at once: a health answer fits, the largest allowed body takes thirty-two.
const READ_SIZE: usize = 8 * 1024;

/// Why there is no whole answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// No connection, or it broke.
    Unreachable(String),
    /// Not HTTP, too large or cut short.
    Malformed(String),
    /// Our own machine could not ask; says nothing of the node.
    Ours(io::Error),
}

/// Asks one server again and again.
#[derive(Debug)]
pub(super) struct Asker {
    address: SocketAddr,
    request: Box<[u8]>,
    keep_alive: bool,
    /// The connection kept from the last question. It is taken for the next one and put back when that went well, so an
    /// abandoned question never leaves a half-read connection behind.
    line: Option<Line>,
}

/// An open connection and how many questions it has carried.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    uses: u32,
}

impl Line {
    /// Whether it may carry another question: what came since the last answer answers none of ours, and would be taken for
    /// the next answer's beginning.
    fn is_fit(&self) -> bool {
        let quiet = || matches!(self.stream.try_read(&mut [0]), Err(fault) if fault.kind() == io::ErrorKind::WouldBlock);
        self.uses < REUSE_MAX && quiet()
    }
}

impl Asker {
    /// For a server at an address. The path is checked: it holds no byte that could end the request line.
    pub(super) fn new(address: SocketAddr, path: &str, keep_alive: bool) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nuser-agent: vast-keeper/{}\r\naccept: application/json\r\n{}\r\n",
            env!("CARGO_PKG_VERSION"),
            if keep_alive { "" } else { "connection: close\r\n" },
        );
        Self { address, request: request.into_bytes().into(), keep_alive, line: None }
    }

    /// Closes a kept connection; the next question opens a new one.
    pub(super) fn hang_up(&mut self) {
        self.line = None;
    }

    /// Asks once.
    pub(super) async fn ask(&mut self) -> Result<Page, Fault> {
        if let Some(mut kept) = self.line.take().filter(Line::is_fit) {
            let mut reader = Reader::default();
            match self.exchange(&mut kept, &mut reader).await {
                // A kept connection may have been closed by the server meanwhile; that is no failure of it.
                Err(_) if reader.is_untouched() => {}
                outcome => return outcome.and_then(|()| self.finish(kept, reader)),
            }
        }
        let stream = TcpStream::connect(self.address).await.map_err(broken)?;
        let (mut line, mut reader) = (Line { stream, uses: 0 }, Reader::default());
        self.exchange(&mut line, &mut reader).await?;
        self.finish(line, reader)
    }

    /// Sends the request and reads until the answer is whole or the server closes.
    async fn exchange(&self, line: &mut Line, reader: &mut Reader) -> Result<(), Fault> {
        line.uses += 1;
        line.stream.write_all(&self.request).await.map_err(broken)?;
        while !poll_fn(|context| pull(&mut line.stream, reader, context)).await? {}
        Ok(())
    }

    fn finish(&mut self, line: Line, reader: Reader) -> Result<Page, Fault> {
        let page = reader.finish().map_err(Fault::Malformed)?;
        if self.keep_alive && page.keep {
            self.line = Some(line);
        }
        Ok(page)
    }
}

/// Reads what is there; true when nothing more is wanted or will come. The buffer lives in here and not in the task, so
/// that no waiting task holds one.
fn pull(stream: &mut TcpStream, reader: &mut Reader, context: &mut Context<'_>) -> Poll<Result<bool, Fault>> {
    let mut space = [const { MaybeUninit::uninit() }; READ_SIZE];
    let mut buffer = ReadBuf::uninit(&mut space);
    Poll::Ready(match ready!(Pin::new(stream).poll_read(context, &mut buffer)) {
        Ok(()) if !buffer.filled().is_empty() => reader.feed(buffer.filled()).map_err(Fault::Malformed),
        Ok(()) if reader.is_untouched() => {
            Err(Fault::Unreachable("connection closed without an answer".into()))
        }
        Ok(()) => Ok(true),
        Err(error) => Err(broken(error)),
    })
}

fn broken(error: io::Error) -> Fault {
    // All of these are limits or settings of the machine the keeper runs on.
    const OURS: [Errno; 7] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
        Errno::PERM,
        Errno::ACCESS,
    ];
    match Errno::from_io_error(&error) {
        Some(errno) if OURS.contains(&errno) => Fault::Ours(error),
        _ => Fault::Unreachable(cause(&error)),
    }
}

/// The cause in words that stay the same, without the number that the standard library appends.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset by peer".into(),
        io::ErrorKind::HostUnreachable => "no route to the host".into(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        _ => error.to_string(),
    }
}
