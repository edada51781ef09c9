//! Rate limits: a token bucket per client address.
//!
//! Each kind of request costs its price; an empty bucket means 429 with the time until it pays again. Health checks
//! and the admin gate (which has its own lock-out) are never limited.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::Millis;

/// Tokens a client can save up.
const CAPACITY: f64 = 240.0;

/// Tokens a client regains per second.
const REFILL_PER_SECOND: f64 = 60.0;

/// Clients remembered at most; a full bucket is the same as a forgotten one, so full ones go first.
const MAX_CLIENTS: usize = 50_000;

/// What a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Price {
    /// Never limited.
    Free,
    /// Reading: 60 a second.
    Read,
    /// Changing something: 20 a second.
    Write,
    /// Creating a player: two a second, at most eight at once.
    Join,
}

impl Price {
    fn tokens(self) -> f64 {
        match self {
            Self::Free => 0.0,
            Self::Read => 1.0,
            Self::Write => 3.0,
            Self::Join => 30.0,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Millis,
}

impl Bucket {
    fn refilled(self, now: Millis) -> Self {
        let seconds = (now - self.at).max(0) as f64 / 1000.0;
        Self { tokens: (self.tokens + seconds * REFILL_PER_SECOND).min(CAPACITY), at: now }
    }
}

/// The buckets of all clients.
#[derive(Debug)]
pub struct Limits {
    enabled: bool,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Limits {
    /// Limits, or none.
    pub fn new(enabled: bool) -> Self {
        Self { enabled, buckets: Mutex::default() }
    }

    /// Takes the price from the client's bucket.
    ///
    /// # Errors
    /// The whole seconds until the client can pay.
    pub fn pay(&self, client: IpAddr, price: Price, now: Millis) -> Result<(), u64> {
        if !self.enabled || price == Price::Free {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| bucket.refilled(now).tokens < CAPACITY);
            if buckets.len() >= MAX_CLIENTS {
                return Err(1);
            }
        }
        let bucket = buckets.entry(client).or_insert(Bucket { tokens: CAPACITY, at: now });
        *bucket = bucket.refilled(now);
        if bucket.tokens < price.tokens() {
            let missing = price.tokens() - bucket.tokens;
            return Err((missing / REFILL_PER_SECOND).ceil().max(1.0) as u64);
        }
        bucket.tokens -= price.tokens();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn a_client_that_asks_too_fast_waits_and_others_do_not() {
        let limits = Limits::new(true);
        let served = (0..100).take_while(|_| limits.pay(HERE, Price::Join, 0).is_ok()).count();
        assert_eq!(served, 8);
        assert_eq!(limits.pay(HERE, Price::Join, 0), Err(1));
        assert_eq!(limits.pay(IpAddr::from([127, 0, 0, 2]), Price::Join, 0), Ok(()));
        assert_eq!(limits.pay(HERE, Price::Join, 500), Ok(()), "half a second pays for one more");
        assert_eq!(limits.pay(HERE, Price::Free, 0), Ok(()));
    }

    #[test]
    fn the_table_of_clients_is_bounded() {
        let limits = Limits::new(true);
        for number in 0..(MAX_CLIENTS as u32 + 100) {
            let _ = limits.pay(IpAddr::from(number.to_be_bytes()), Price::Write, 0);
        }
        assert!(limits.buckets.lock().expect("not poisoned").len() <= MAX_CLIENTS);
        assert_eq!(
            limits.pay(IpAddr::from([250, 0, 0, 1]), Price::Read, 10_000),
            Ok(()),
            "old ones make room"
        );
    }
}
