//! Players' bearer tokens: JSON Web Tokens, HMAC-SHA-256 (RFC 7519, RFC 7518 §3.2).
//!
//! Only what this server needs: one algorithm, fixed, so that a token cannot choose another. After a change of the
//! signing key, tokens of the old one are accepted until a given time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::arena::PlayerId;
use crate::clock::Millis;
use crate::settings::{Secret, TokenSettings};

/// How long a token is valid: 30 days.
pub const LIFETIME_SECONDS: i64 = 30 * 24 * 3600;

/// No token of ours is longer; a longer one is refused unread.
const MAX_TOKEN_BYTES: usize = 1024;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    sub: String,
    iat: i64,
    exp: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not a token of this kind, or signed by somebody else.
    #[error("the token is not valid")]
    Invalid,
    /// It was valid once.
    #[error("the token has expired")]
    Expired,
}

/// Signs and verifies tokens.
pub struct Tokens {
    current: Hmac<Sha256>,
    previous: Option<(Hmac<Sha256>, Millis)>,
}

impl Tokens {
    /// Keys from the settings; without one a random key is drawn, and tokens end with the process.
    ///
    /// # Errors
    /// When a key must be drawn and the system has no randomness.
    pub fn new(settings: &TokenSettings) -> Result<Self, getrandom::Error> {
        let keyed = |secret: &Secret| key(secret.expose().as_bytes());
        let current = match &settings.secret {
            Some(secret) => keyed(secret),
            None => key(&crate::randomness::bytes::<32>()?),
        };
        let previous = settings.previous.as_ref().map(|(secret, until)| (keyed(secret), *until));
        Ok(Self { current, previous })
    }

    /// A token for a player.
    pub fn issue(&self, player: &PlayerId, now: Millis) -> String {
        let seconds = now / 1000;
        let header = Header { alg: String::from("HS256"), typ: Some(String::from("JWT")) };
        let claims = Claims { sub: player.to_string(), iat: seconds, exp: seconds + LIFETIME_SECONDS };
        let part = |value: Option<Vec<u8>>| URL_SAFE_NO_PAD.encode(value.unwrap_or_default());
        let signed =
            format!("{}.{}", part(serde_json::to_vec(&header).ok()), part(serde_json::to_vec(&claims).ok()));
        let signature = self.current.clone().chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The player a token speaks for.
    ///
    /// # Errors
    /// See [`TokenFault`].
    pub fn verify(&self, token: &str, now: Millis) -> Result<PlayerId, TokenFault> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenFault::Invalid);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenFault::Invalid)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Invalid);
        let signature = decode(signature)?;
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenFault::Invalid)?;
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until).map(|(key, _)| key);
        let signed_by =
            |key: &Hmac<Sha256>| key.clone().chain_update(signed).verify_slice(&signature).is_ok();
        if header.alg != "HS256" || !(signed_by(&self.current) || previous.is_some_and(signed_by)) {
            return Err(TokenFault::Invalid);
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenFault::Invalid)?;
        if now / 1000 >= claims.exp {
            return Err(TokenFault::Expired);
        }
        PlayerId::parse(&claims.sub).ok_or(TokenFault::Invalid)
    }
}

fn key(bytes: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of every length; the empty key, which no caller has, stands in for the impossible error.
    Hmac::new_from_slice(bytes).unwrap_or_else(|_| Hmac::new(&Default::default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Millis = 1_700_000_000_000;

    fn tokens(secret: &str, previous: Option<(&str, Millis)>) -> Tokens {
        let secret_of = |text: &str| Secret::new(text.to_owned());
        let previous = previous.map(|(text, until)| (secret_of(text), until));
        Tokens::new(&TokenSettings { secret: Some(secret_of(secret)), previous }).expect("keyed")
    }

    fn player() -> PlayerId {
        PlayerId::from_random([7; 16])
    }

    #[test]
    fn a_token_speaks_for_its_player_until_it_expires() {
        let tokens = tokens("first", None);
        let token = tokens.issue(&player(), NOW);
        assert_eq!(tokens.verify(&token, NOW + 1000), Ok(player()));
        assert_eq!(tokens.verify(&token, NOW + LIFETIME_SECONDS * 1000), Err(TokenFault::Expired));
    }

    #[test]
    fn the_old_key_is_accepted_during_its_grace_only() {
        let token = tokens("first", None).issue(&player(), NOW);
        let rotated = tokens("second", Some(("first", NOW + 5000)));
        assert_eq!(rotated.verify(&token, NOW + 4999), Ok(player()));
        assert_eq!(rotated.verify(&token, NOW + 5000), Err(TokenFault::Invalid));
    }

    #[test]
    fn an_unsigned_or_otherwise_signed_token_is_refused() {
        let tokens = tokens("first", None);
        let claims = format!(r#"{{"sub":"{}","iat":0,"exp":99999999999}}"#, player());
        for alg in ["none", "HS512", "hs256", ""] {
            let head = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#));
            let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(&claims));
            let honest = tokens.current.clone().chain_update(&signed).finalize().into_bytes();
            for signature in [String::new(), URL_SAFE_NO_PAD.encode(honest)] {
                let token = format!("{signed}.{signature}");
                assert_eq!(tokens.verify(&token, NOW), Err(TokenFault::Invalid), "{alg}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_token_by_chance(text in "\\PC{0,200}|[A-Za-z0-9_.-]{0,300}") {
            prop_assert_eq!(tokens("first", None).verify(&text, NOW), Err(TokenFault::Invalid));
        }

        #[test]
        fn one_changed_byte_breaks_a_token(at in 0_usize..150, with in 33_u8..127) {
            let tokens = tokens("first", None);
            let token = tokens.issue(&player(), NOW);
            let mut bytes = token.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            let changed = String::from_utf8(bytes).expect("ASCII");
            prop_assume!(changed != token);
            // The last character of an unpadded part may carry unused bits, which decoding refuses; so never valid.
            prop_assert!(tokens.verify(&changed, NOW).is_err());
        }
    }
}
