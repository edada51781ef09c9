//! Reads one HTTP/1.x answer from the pieces in which it arrives, and no more of it than is allowed.
//!
//! ```text
//! Head ─┬─► Length(n) ──────────────────────────────► Done        (Content-Length; 204 and 304 have no body)
//!  ▲ 1xx├─► ChunkSize ⇄ Chunk(n) ► … ► Trailers ────► Done        (Transfer-Encoding: chunked)
//!  └────┴─► UntilClose ─────────────────── end ─────► Done        (neither)
//! ```
//!
//! Message framing is RFC 9112 §6.3, taken strictly: contradicting lengths, both kinds of length at once, and transfer
//! codings that were never offered are errors. Lines and numbers are read by `httparse`. Pure: no input or output here,
//! so any bytes in any pieces can be tried on it. Nothing is allocated before the first byte came, which is what keeps
//! thousands of hung probes small.

use httparse::{EMPTY_HEADER, Response, Status};

/// Largest body that is read, in bytes: a health answer has a few hundred.
pub(super) const BODY_MAX: usize = 256 * 1024;

/// Largest head, interim answers included, and largest trailer, in bytes: twice what common reverse proxies accept by
/// default (nginx: 4 or 8 KiB).
pub(super) const HEAD_MAX: usize = 16 * 1024;

/// Most header lines, as many as other clients allow.
const HEADERS_MAX: usize = 100;

/// Longest line that announces a chunk, in bytes; only extensions, which nobody uses, make it longer than ten.
const CHUNK_LINE_MAX: usize = 256;

/// An answer in the course of being read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    state: State,
    /// Bytes that came and are not yet understood.
    pending: Vec<u8>,
    /// Bytes of heads that were read already.
    heads: usize,
    /// Pending bytes of a head in which no end was found: one that drips in is not searched again for every byte.
    searched: usize,
    page: Page,
}

/// A whole answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Whether the server will take another request on the same connection.
    pub(super) keep: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Length(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailers,
    UntilClose,
    Done,
}

/// What breaks HTTP or a limit.
type Malformed = String;

/// Whether a step got anywhere or needs more bytes.
enum Step {
    On(State),
    More,
}

impl Reader {
    /// Takes the next bytes; true when the answer is whole.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<bool, Malformed> {
        self.searched = self.pending.len();
        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        while self.state != State::Done {
            match self.step(&mut at)? {
                Step::On(state) => self.state = state,
                Step::More => break,
            }
        }
        self.pending.drain(..at);
        // Bytes after the end answer no question of ours: such a connection is not used again.
        let done = self.state == State::Done;
        self.page.keep &= !done || self.pending.is_empty();
        Ok(done)
    }

    /// Whether anything has come yet.
    pub(super) fn is_untouched(&self) -> bool {
        self.state == State::Head && self.pending.is_empty() && self.heads == 0
    }

    /// The answer, once whole or once the server has closed the connection.
    pub(super) fn finish(self) -> Result<Page, Malformed> {
        match self.state {
            State::Done | State::UntilClose => Ok(self.page),
            _ => Err("cut short".into()),
        }
    }

    /// Understands what it can of the pending bytes from `at` on.
    fn step(&mut self, at: &mut usize) -> Result<Step, Malformed> {
        let rest = self.pending.get(*at..).unwrap_or_default();
        match self.state {
            State::Head => {
                // An end may begin three bytes before the new ones. Behind an interim head all bytes are new.
                let from = if *at == 0 { self.searched.saturating_sub(3) } else { 0 };
                if !has_head(rest, from)? {
                    within_head(self.heads + rest.len())?;
                    return Ok(Step::More);
                }
                let (length, state) = head(rest, &mut self.page)?;
                *at += length;
                self.heads += length;
                within_head(self.heads)?;
                Ok(Step::On(state))
            }
            State::Length(0) => Ok(Step::On(State::Done)),
            State::Chunk(0) => Ok(Step::On(State::ChunkEnd)),
            State::Length(_) | State::Chunk(_) | State::UntilClose if rest.is_empty() => Ok(Step::More),
            State::Length(missing) => {
                Ok(Step::On(State::Length(missing - take(&mut self.page, rest, missing, at)?)))
            }
            State::Chunk(missing) => {
                Ok(Step::On(State::Chunk(missing - take(&mut self.page, rest, missing, at)?)))
            }
            State::UntilClose => {
                take(&mut self.page, rest, rest.len(), at)?;
                Ok(Step::More)
            }
            State::ChunkSize => match httparse::parse_chunk_size(rest) {
                // The same limit however the bytes came, or a long line would be refused only where it came in pieces.
                Ok(Status::Complete((length, size))) if length <= CHUNK_LINE_MAX => {
                    *at += length;
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    Ok(Step::On(if size == 0 { State::Trailers } else { State::Chunk(size) }))
                }
                Ok(Status::Partial) if rest.len() <= CHUNK_LINE_MAX => Ok(Step::More),
                Ok(_) | Err(_) => Err("invalid chunk size".into()),
            },
            State::ChunkEnd => match rest {
                [b'\r', b'\n', ..] => {
                    *at += 2;
                    Ok(Step::On(State::ChunkSize))
                }
                [] | [b'\r'] => Ok(Step::More),
                _ => Err("a chunk is longer than announced".into()),
            },
            State::Trailers => match line_end(rest) {
                Some(0) => {
                    *at += 2;
                    Ok(Step::On(State::Done))
                }
                Some(length) => {
                    *at += length + 2;
                    self.heads += length + 2;
                    within_head(self.heads)?;
                    Ok(Step::On(State::Trailers))
                }
                None => within_head(self.heads + rest.len()).map(|()| Step::More),
            },
            State::Done => Ok(Step::More),
        }
    }
}

/// Moves up to `missing` bytes of the body over, and says how many.
fn take(page: &mut Page, rest: &[u8], missing: usize, at: &mut usize) -> Result<usize, Malformed> {
    let data = rest.get(..missing).unwrap_or(rest);
    if page.body.len() + data.len() > BODY_MAX {
        return Err(body_too_large());
    }
    page.body.extend_from_slice(data);
    *at += data.len();
    Ok(data.len())
}

fn body_too_large() -> Malformed {
    format!("body larger than {} KiB", BODY_MAX / 1024)
}

fn within_head(bytes: usize) -> Result<(), Malformed> {
    if bytes > HEAD_MAX { Err(format!("head larger than {} KiB", HEAD_MAX / 1024)) } else { Ok(()) }
}

/// Where the first line ends, without its line break.
fn line_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"\r\n")
}

/// Whether a whole head has come. What cannot become one is refused at once, whatever else is still to come.
fn has_head(bytes: &[u8], from: usize) -> Result<bool, Malformed> {
    if bytes.iter().zip(b"HTTP/1.").any(|(byte, expected)| byte != expected) {
        return Err("not HTTP/1.x".into());
    }
    let new = bytes.get(from..).unwrap_or_default();
    Ok(new.windows(2).any(|two| two == b"\n\n") || new.windows(3).any(|three| three == b"\n\r\n"))
}

/// Reads a whole head: its length, and how the body is framed.
fn head(bytes: &[u8], page: &mut Page) -> Result<(usize, State), Malformed> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Err("not HTTP: an empty line inside the head".into()),
        Err(httparse::Error::TooManyHeaders) => return Err(format!("more than {HEADERS_MAX} header lines")),
        Err(error) => return Err(format!("not HTTP: {error}")),
    };
    page.status = response.code.unwrap_or_default();
    let state = framing(page.status, response.headers)?;
    let closes = values(response.headers, "connection").any(|value| value.eq_ignore_ascii_case("close"));
    page.keep = response.version == Some(1) && !closes && state != State::UntilClose;
    Ok((length, state))
}

/// How the body is framed, or that there is another head to come.
fn framing(status: u16, headers: &[httparse::Header<'_>]) -> Result<State, Malformed> {
    match status {
        101 => return Err("switches protocols, which nobody asked for".into()),
        100..=199 => return Ok(State::Head),
        204 | 304 => return Ok(State::Done),
        _ => {}
    }
    let mut codings = values(headers, "transfer-encoding");
    let mut lengths = values(headers, "content-length");
    match (codings.next(), lengths.next()) {
        (Some(_), Some(_)) => Err("both a length and a transfer coding".into()),
        (Some(coding), None) if coding.eq_ignore_ascii_case("chunked") && codings.next().is_none() => {
            Ok(State::ChunkSize)
        }
        (Some(_), None) => Err("a transfer coding that nobody offered".into()),
        (None, Some(length)) if length.bytes().all(|byte| byte.is_ascii_digit()) && !length.is_empty() => {
            if lengths.any(|other| other != length) {
                return Err("contradicting lengths".into());
            }
            // Digits that do not fit a number are too large all the more.
            length
                .parse()
                .ok()
                .filter(|length| *length <= BODY_MAX)
                .map(State::Length)
                .ok_or_else(body_too_large)
        }
        (None, Some(_)) => Err("invalid length".into()),
        (None, None) => Ok(State::UntilClose),
    }
}

/// The comma-separated values of every header of a name; one that is no text is an empty value.
fn values<'a>(headers: &'a [httparse::Header<'_>], name: &'a str) -> impl Iterator<Item = &'a str> {
    headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name))
        .flat_map(|header| std::str::from_utf8(header.value).unwrap_or_default().split(',').map(str::trim))
}

#[cfg(test)]
mod tests;
