//! The gate of the admin endpoints: a code, compared in constant time, and a lock-out against guessing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::clock::Millis;
use crate::settings::Secret;

/// Wrong codes within [`WINDOW_MS`] that lock a client out. The original server's numbers.
const MAX_FAILURES: u32 = 5;

/// In which time they are counted.
const WINDOW_MS: Millis = 60_000;

/// How long a client stays locked out.
const LOCK_OUT_MS: Millis = 300_000;

/// Clients remembered; beyond it the one longest quiet is forgotten, so that memory stays bounded.
const MAX_CLIENTS: usize = 10_000;

/// What the gate says.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The right code.
    Admitted,
    /// No code, or a wrong one.
    Refused,
    /// Too many wrong codes; the right one does not help now.
    LockedOut {
        /// Seconds until it ends.
        retry_after: u64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Record {
    failures: u32,
    window_started: Millis,
    locked_until: Option<Millis>,
}

/// The gate.
#[derive(Debug)]
pub struct AdminGate {
    /// Digest of the code; comparing digests makes the time independent of the code's length, too.
    expected: Option<[u8; 32]>,
    clients: Mutex<HashMap<IpAddr, Record>>,
}

impl AdminGate {
    /// A gate for this code; without one nobody is admitted.
    pub fn new(code: Option<&Secret>) -> Self {
        let expected = code.map(|code| Sha256::digest(code.expose().as_bytes()).into());
        Self { expected, clients: Mutex::default() }
    }

    /// Judges a request.
    pub fn judge(&self, client: IpAddr, code: Option<&[u8]>, now: Millis) -> Verdict {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = clients.get(&client).and_then(|record| record.locked_until) {
            if now < until {
                return Verdict::LockedOut { retry_after: seconds_up(until - now) };
            }
            clients.remove(&client);
        }
        if self.is_right(code) {
            clients.remove(&client);
            return Verdict::Admitted;
        }
        // A missing code is an honest mistake, not a guess: it is refused without being counted.
        if code.is_none() {
            return Verdict::Refused;
        }
        make_room(&mut clients, now);
        let fresh = Record { failures: 0, window_started: now, locked_until: None };
        let record = clients.entry(client).or_insert(fresh);
        if now - record.window_started > WINDOW_MS {
            *record = fresh;
        }
        record.failures += 1;
        if record.failures >= MAX_FAILURES {
            record.locked_until = Some(now + LOCK_OUT_MS);
        }
        Verdict::Refused
    }

    fn is_right(&self, code: Option<&[u8]>) -> bool {
        let given: [u8; 32] = Sha256::digest(code.unwrap_or_default()).into();
        let expected = self.expected.unwrap_or_default();
        let equal = bool::from(given.ct_eq(&expected));
        equal && self.expected.is_some() && code.is_some()
    }
}

fn seconds_up(milliseconds: Millis) -> u64 {
    u64::try_from(milliseconds).unwrap_or(0).div_ceil(1000)
}

fn make_room(clients: &mut HashMap<IpAddr, Record>, now: Millis) {
    if clients.len() < MAX_CLIENTS {
        return;
    }
    clients.retain(|_, record| match record.locked_until {
        Some(until) => now < until,
        None => now - record.window_started <= WINDOW_MS,
    });
    if clients.len() >= MAX_CLIENTS {
        let oldest =
            clients.iter().min_by_key(|(_, record)| record.window_started).map(|(client, _)| *client);
        oldest.map(|client| clients.remove(&client));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn gate() -> AdminGate {
        AdminGate::new(Some(&Secret::new(String::from("rïght code"))))
    }

    #[test]
    fn the_right_code_is_admitted_and_everything_else_is_not() {
        let gate = gate();
        assert_eq!(gate.judge(HERE, Some("rïght code".as_bytes()), 0), Verdict::Admitted);
        for wrong in [None, Some("".as_bytes()), Some(b"right code"), Some(b"r"), Some(&[0xff; 300])] {
            assert_eq!(gate.judge(HERE, wrong, 0), Verdict::Refused);
        }
    }

    #[test]
    fn without_a_code_nobody_is_admitted() {
        let gate = AdminGate::new(None);
        for attempt in [None, Some("".as_bytes()), Some(b"anything")] {
            assert_eq!(gate.judge(HERE, attempt, 0), Verdict::Refused);
        }
    }

    #[test]
    fn five_wrong_codes_lock_one_client_out_for_five_minutes() {
        let gate = gate();
        for second in 0..5 {
            assert_eq!(gate.judge(HERE, Some(b"x"), second * 1000), Verdict::Refused);
        }
        let right = Some("rïght code".as_bytes());
        assert_eq!(gate.judge(HERE, right, 5_000), Verdict::LockedOut { retry_after: 299 });
        let elsewhere = IpAddr::from([127, 0, 0, 9]);
        assert_eq!(gate.judge(elsewhere, right, 5_000), Verdict::Admitted);
        assert_eq!(gate.judge(HERE, right, 4_000 + LOCK_OUT_MS), Verdict::Admitted);
    }

    #[test]
    fn slow_mistakes_do_not_add_up() {
        let gate = gate();
        for minute in 0..20 {
            assert_eq!(gate.judge(HERE, Some(b"x"), minute * (WINDOW_MS + 1)), Verdict::Refused);
        }
    }

    #[test]
    fn the_table_of_clients_is_bounded() {
        let gate = gate();
        for number in 0..(MAX_CLIENTS as u32 + 50) {
            let _ = gate.judge(IpAddr::from(number.to_be_bytes()), Some(b"x"), i64::from(number) / 1000);
        }
        assert!(gate.clients.lock().expect("not poisoned").len() <= MAX_CLIENTS);
    }
}
