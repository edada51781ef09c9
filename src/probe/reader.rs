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
                Ok(Status::Complete((length, size))) => {
                    *at += length;
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    Ok(Step::On(if size == 0 { State::Trailers } else { State::Chunk(size) }))
                }
                Ok(Status::Partial) if rest.len() <= CHUNK_LINE_MAX => Ok(Step::More),
                Ok(Status::Partial) | Err(_) => Err("invalid chunk size".into()),
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Page, Malformed> {
        let mut reader = Reader::default();
        reader.feed(bytes)?;
        reader.finish()
    }

    fn page(status: u16, body: &str, keep: bool) -> Result<Page, Malformed> {
        Ok(Page { status, body: body.into(), keep })
    }

    #[test]
    fn every_framing_is_read() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", page(200, "hi", true)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", page(200, "hi", false)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: Close\r\n\r\nhi", page(200, "hi", false)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi more", page(200, "hi", false)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi", page(200, "hi", true)),
            ("HTTP/1.1 200 OK\r\n\r\nuntil the end", page(200, "until the end", false)),
            ("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", page(200, "", true)),
            ("HTTP/1.1 204 No Content\r\n\r\n", page(204, "", true)),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\na: b\r\n\r\nHTTP/1.1 503 Busy\r\ncontent-length: 1\r\n\r\n!",
                page(503, "!", true),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhi\r\n1;x=y\r\n!\r\n0\r\n\r\n",
                page(200, "hi!", true),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\ntrailer: x\r\n\r\n",
                page(200, "hi", true),
            ),
        ] {
            assert_eq!(read(answer.as_bytes()), expected, "{answer}");
        }
    }

    #[test]
    fn what_breaks_the_rules_is_malformed() {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for (answer, why) in [
            ("SSH-2.0".into(), "not HTTP/1.x"),
            ("HTTP/2.0 200 OK\r\n\r\n".into(), "not HTTP/1.x"),
            ("HTTP/1.1 abc\r\n\r\n".into(), "not HTTP: invalid response status"),
            ("".into(), "cut short"),
            ("HTTP/1.1 200 OK\r\ncontent-".into(), "cut short"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi".into(), "cut short"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 2\r\n\r\nhi".into(),
                "contradicting lengths",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nhi".into(), "invalid length"),
            ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nhi".into(), "invalid length"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999999\r\n\r\n".into(),
                "body larger than 256 KiB",
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n".into(),
                "both a length and a transfer coding",
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n".into(),
                "a transfer coding that nobody offered",
            ),
            ("HTTP/1.1 101 Switching\r\n\r\n".into(), "switches protocols, which nobody asked for"),
            (format!("{chunked}zz\r\n"), "invalid chunk size"),
            (format!("{chunked}1;{}", "x".repeat(300)), "invalid chunk size"),
            (format!("{chunked}1\r\nhi\r\n0\r\n\r\n"), "a chunk is longer than announced"),
            (format!("{chunked}ffffffffffffffff\r\n{}", "x".repeat(300_000)), "body larger than 256 KiB"),
            (format!("{chunked}2\r\nhi\r\n0\r\n"), "cut short"),
            (format!("{chunked}0\r\n{}", "a: b\r\n".repeat(4000)), "head larger than 16 KiB"),
            (format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(BODY_MAX + 1)), "body larger than 256 KiB"),
            (format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(4000)), "head larger than 16 KiB"),
            (format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101)), "more than 100 header lines"),
            ("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), "head larger than 16 KiB"),
        ] {
            assert_eq!(
                read(answer.as_bytes()),
                Err(why.into()),
                "{}",
                answer.chars().take(99).collect::<String>()
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(0_usize..200, 0..8),
            sized: bool,
        ) {
            let body = chunks.concat();
            let mut answer = Vec::new();
            if sized {
                answer.extend(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes());
                answer.extend(&body);
            } else {
                answer.extend(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                for chunk in &chunks {
                    answer.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    answer.extend(chunk);
                    answer.extend(b"\r\n");
                }
                answer.extend(b"0\r\n\r\n");
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(answer.len())).collect();
            cuts.extend([0, answer.len()]);
            cuts.sort_unstable();
            let mut reader = Reader::default();
            let mut done = false;
            for cut in cuts.windows(2) {
                prop_assert!(!done || cut[0] == answer.len());
                done = reader.feed(&answer[cut[0]..cut[1]]).unwrap();
            }
            prop_assert!(done);
            prop_assert_eq!(reader.finish().unwrap(), Page { status: 200, body, keep: true });
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(
            line in prop_oneof![Just("HTTP/1.1 200 OK\r\n"), Just("HTTP/1.1 100 C\r\n\r\n"), Just("")],
            headers in "(transfer-encoding: chunked\r\n|content-length: [0-9]{1,9}\r\n|x: y\r\n|\r\n){0,4}",
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
        ) {
            let mut reader = Reader::default();
            let mut alive = reader.feed(format!("{line}{headers}").as_bytes()).is_ok();
            for piece in &pieces {
                alive = alive && reader.feed(piece).is_ok();
                prop_assert!(reader.page.body.len() <= BODY_MAX && reader.pending.len() <= HEAD_MAX + 4000);
            }
        }
    }
}
