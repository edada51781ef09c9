//! One question and its whole answer: connect, request, bounded read. The caller limits the time.
//!
//! The connection is driven by the asking task itself, without a task or a pool of its own: dropping the question drops
//! the socket, which is how a timeout and an abandoned probe end.

use std::{error::Error, io, net::SocketAddr, pin::Pin, pin::pin};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, Uri,
    body::{Body, Bytes, Incoming},
    client::conn::http1::{Builder, Connection, SendRequest},
    header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT},
    http::uri::PathAndQuery,
};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::net::TcpStream;

/// Largest body that is read, in bytes: a health answer has a few hundred.
pub(super) const BODY_MAX: usize = 256 * 1024;

/// Largest head of an answer in bytes, twice what common reverse proxies accept by default (nginx: 4 or 8 KiB).
const HEAD_MAX: usize = 16 * 1024;

/// Probes over one kept connection before a new one is opened: a listener that died behind a living connection must not
/// stay unnoticed.
const REUSE_MAX: u32 = 10;

/// A whole answer.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

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
    uri: Uri,
    host: HeaderValue,
    keep_alive: bool,
    /// The connection kept from the last question. It is taken for the next one and put back when that went well, so an
    /// abandoned question never leaves a half-read connection behind.
    line: Option<Line>,
}

/// An open connection with its two ends: what we ask through, and what moves the bytes while it is polled.
#[derive(Debug)]
struct Line {
    sender: SendRequest<Empty<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Pin<Box<Wire>>>,
    uses: u32,
}

type Wire = Connection<TokioIo<TcpStream>, Empty<Bytes>>;

impl Asker {
    /// For a server at an address.
    pub(super) fn new(address: SocketAddr, path: &PathAndQuery, keep_alive: bool) -> Self {
        // An address has only digits, dots, colons and brackets, so it always is a header's value.
        let host = HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static("node"));
        Self { address, uri: Uri::from(path.clone()), host, keep_alive, line: None }
    }

    /// Closes a kept connection; the next question opens a new one.
    pub(super) fn hang_up(&mut self) {
        self.line = None;
    }

    /// Asks once.
    pub(super) async fn ask(&mut self) -> Result<Page, Fault> {
        if let Some(mut kept) = self.line.take().filter(|line| line.uses < REUSE_MAX) {
            // A kept connection may have been closed by the server meanwhile; that is no failure of it.
            if let Ok(response) = kept.request(self.request()).await {
                return self.finish(kept, response).await;
            }
        }
        let mut line = Line::open(self.address).await?;
        let response = line.request(self.request()).await.map_err(|error| fault(&error, false))?;
        self.finish(line, response).await
    }

    async fn finish(&mut self, mut line: Line, response: Response<Incoming>) -> Result<Page, Fault> {
        let status = response.status().as_u16();
        let body = line.read(response.into_body()).await?;
        if self.keep_alive && line.connection.is_some() {
            self.line = Some(line);
        }
        Ok(Page { status, body })
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers
            .insert(USER_AGENT, HeaderValue::from_static(concat!("vast-keeper/", env!("CARGO_PKG_VERSION"))));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if !self.keep_alive {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        request
    }
}

impl Line {
    async fn open(address: SocketAddr) -> Result<Self, Fault> {
        let stream = TcpStream::connect(address).await.map_err(broken)?;
        let (sender, connection) = Builder::new()
            .max_buf_size(HEAD_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| fault(&error, false))?;
        Ok(Self { sender, connection: Some(Box::pin(connection)), uses: 0 })
    }

    async fn request(&mut self, request: Request<Empty<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.uses += 1;
        let Self { sender, connection, .. } = self;
        let exchange = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        drive(connection, exchange).await
    }

    async fn read(&mut self, body: Incoming) -> Result<Vec<u8>, Fault> {
        let too_large = || Fault::Malformed(format!("body larger than {} KiB", BODY_MAX / 1024));
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > BODY_MAX {
            return Err(too_large());
        }
        let whole = async {
            let mut body = pin!(body);
            let mut read = Vec::with_capacity(announced);
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|error| fault(&error, true))?.into_data() else {
                    // Trailers carry nothing that is judged.
                    continue;
                };
                if read.len() + data.len() > BODY_MAX {
                    return Err(too_large());
                }
                read.extend_from_slice(&data);
            }
            Ok(read)
        };
        drive(&mut self.connection, whole).await
    }
}

/// Runs an exchange while its connection moves the bytes. The connection may end first: what it has handed over stays,
/// and dropping it tells the exchange that no more will come.
async fn drive<T>(connection: &mut Option<Pin<Box<Wire>>>, exchange: impl Future<Output = T>) -> T {
    let mut exchange = pin!(exchange);
    if let Some(wire) = connection {
        tokio::select! {
            biased;
            outcome = &mut exchange => return outcome,
            // Its own error reaches the exchange too, which is the one that reports it.
            _ = wire => {}
        }
        *connection = None;
    }
    exchange.await
}

fn fault(error: &hyper::Error, in_body: bool) -> Fault {
    if error.is_parse_too_large() {
        return Fault::Malformed(format!(
            "head larger than {} KiB or with too many headers",
            HEAD_MAX / 1024
        ));
    }
    // Closed before the request was taken, in the middle of an answer, or in the middle of a body.
    let cut = error.is_canceled()
        || error.is_closed()
        || error.is_incomplete_message()
        || io_source(error).is_some_and(|source| source.kind() == io::ErrorKind::UnexpectedEof);
    match io_source(error) {
        _ if cut && in_body => Fault::Malformed("cut short".into()),
        _ if cut => Fault::Unreachable("connection closed without an answer".into()),
        Some(source) if source.raw_os_error().is_some() => broken_again(source),
        _ => Fault::Malformed(format!("not HTTP: {}", innermost(error))),
    }
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

/// An error inside another cannot be taken out; its number makes it anew.
fn broken_again(error: &io::Error) -> Fault {
    broken(error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error))
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

fn io_source(error: &hyper::Error) -> Option<&io::Error> {
    error.source()?.downcast_ref()
}

fn innermost(error: &hyper::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
