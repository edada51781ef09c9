//! A sink's URL: checked once, and never shown.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use url::{Host, Url};

/// Why a text is not a sink's URL; the text itself is a secret and not in here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlFault {
    /// It does not parse.
    #[error("not a URL: {0}")]
    Malformed(url::ParseError),
    /// It would send the secret in the clear.
    #[error("must begin with https:// (http:// is allowed to this machine only)")]
    Insecure,
    /// A user name or password in it, which many programs log.
    #[error("must not hold a user name or password; use a header")]
    Credentials,
}

/// A checked URL of a sink. `Debug` and `Display` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct SinkUrl(Url);

/// Checks a sink's URL: `https`, or `http` to the loopback network.
///
/// # Errors
/// See [`UrlFault`].
pub fn check_url(text: &str) -> Result<SinkUrl, UrlFault> {
    let url = Url::parse(text.trim()).map_err(UrlFault::Malformed)?;
    let here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback() && address != Ipv4Addr::UNSPECIFIED,
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => return Err(UrlFault::Malformed(url::ParseError::EmptyHost)),
    };
    match url.scheme() {
        "https" => {}
        "http" if here => {}
        _ => return Err(UrlFault::Insecure),
    }
    if url.username().is_empty() && url.password().is_none() {
        Ok(SinkUrl(url))
    } else {
        Err(UrlFault::Credentials)
    }
}

impl SinkUrl {
    /// The URL itself, for sending only.
    pub(super) fn expose(&self) -> &Url {
        &self.0
    }

    /// `text` without what makes the URL a secret, for answers that quote the request.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // A path of a few characters is no secret, and replacing it would garble ordinary words.
        let secrets = [Some(self.0.as_str()), Some(self.0.path()), self.0.query()];
        for secret in secrets.into_iter().flatten().filter(|secret| secret.len() > 4) {
            text = text.replace(secret, "***");
        }
        let pieces = self.0.path_segments().into_iter().flatten().filter(|piece| piece.len() >= 16);
        pieces.fold(text, |text, piece| text.replace(piece, "***"))
    }
}

impl FromStr for SinkUrl {
    type Err = UrlFault;
    fn from_str(text: &str) -> Result<Self, UrlFault> {
        check_url(text)
    }
}

impl fmt::Debug for SinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SinkUrl(***)")
    }
}

impl fmt::Display for SinkUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_urls_pass_and_no_fault_shows_one() {
        for good in [
            "https://hooks.slack.com/services/T/B/x",
            "http://127.0.0.1:9/x",
            "http://127.9.9.9/x",
            "http://[::1]:80/",
            "http://localhost:1/x",
            " https://example.org/x?thread_id=5 ",
        ] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for (bad, fault) in [
            ("http://hooks.slack.com/sEcReT", UrlFault::Insecure),
            ("http://localhost.example.org/sEcReT", UrlFault::Insecure),
            ("http://10.0.0.1/sEcReT", UrlFault::Insecure),
            ("ftp://127.0.0.1/sEcReT", UrlFault::Insecure),
            ("https://me:sEcReT@example.org/", UrlFault::Credentials),
        ] {
            let found = check_url(bad).unwrap_err();
            assert_eq!(found, fault, "{bad}");
            assert!(!format!("{found} {found:?}").contains("sEcReT"));
        }
        for bad in ["", "sEcReT", "https://", "mailto:sEcReT", "http:///sEcReT", "data:,sEcReT"] {
            let found = check_url(bad).unwrap_err();
            assert!(!format!("{found} {found:?}").contains("sEcReT"), "{found:?}");
        }
    }

    #[test]
    fn a_quoting_answer_is_redacted() {
        let url =
            check_url("https://hooks.example.org/services/T1/aVeryLongAndSecretToken?key=hidden").unwrap();
        let quoted =
            "no route /services/T1/aVeryLongAndSecretToken?key=hidden; token aVeryLongAndSecretToken";
        let shown = url.redact(quoted);
        assert!(!shown.contains("Secret") && !shown.contains("hidden"), "{shown}");
        assert_eq!(format!("{url:?} {url}"), "SinkUrl(***) ***");
    }
}
