//! Loopback addresses for the boxes: one /16 block per simulator, one address per box.
//!
//! A block is claimed by holding a listener on its `127.N.0.1`, so that two simulators on a machine (in one
//! process or in many) never hand out the same address.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::Mutex;

/// Port of the claim; any fixed one below the ephemeral range.
const CLAIM_PORT: u16 = 4_077;

/// First block tried; 127.0 and 127.1 are where other local services tend to live.
const FIRST_BLOCK: u8 = 64;

/// Host ports are drawn from here: above the well-known, below Linux's ephemeral range (32768).
const HOST_PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Ports tried before a box gives up.
const PORT_TRIES: u32 = 50;

/// A claimed block and what has been handed out of it.
#[derive(Debug)]
pub(crate) struct Addresses {
    block: u8,
    _claim: TcpListener,
    given: Mutex<u16>,
    rng: Mutex<fastrand::Rng>,
}

impl Addresses {
    /// Claims the wanted block, or the first free one.
    pub(crate) fn claim(wanted: Option<u8>, seed: u64) -> io::Result<Self> {
        let blocks: Vec<u8> = wanted.map_or_else(|| (FIRST_BLOCK..=254).collect(), |block| vec![block]);
        let mut last_error = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for block in blocks {
            match TcpListener::bind(SocketAddrV4::new(Ipv4Addr::new(127, block, 0, 1), CLAIM_PORT)) {
                Ok(claim) => {
                    let rng = Mutex::new(fastrand::Rng::with_seed(seed));
                    return Ok(Addresses { block, _claim: claim, given: Mutex::new(0), rng });
                }
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }

    /// An address no box of this simulator had in its last 60,000.
    pub(crate) fn next(&self) -> Ipv4Addr {
        let mut given = self.given.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = *given;
        *given = (number + 1) % (240 * 250);
        let [high, low] = [number / 250 + 1, number % 250 + 2].map(|part| u8::try_from(part).unwrap_or(1));
        Ipv4Addr::new(127, self.block, high, low)
    }

    /// The stand-in for `sshN.vast.ai`: one of eight addresses of the block that are no box.
    pub(crate) fn proxy(&self, instance: u64) -> Ipv4Addr {
        Ipv4Addr::new(127, self.block, 255, 1 + u8::try_from(instance % 8).unwrap_or(0))
    }

    /// Listens on `address` at the wanted port, or at a random host port.
    pub(crate) async fn listen(
        &self,
        address: Ipv4Addr,
        wanted: Option<u16>,
    ) -> io::Result<tokio::net::TcpListener> {
        if let Some(port) = wanted {
            return tokio::net::TcpListener::bind((address, port)).await;
        }
        let mut last_error = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..PORT_TRIES {
            let port = {
                let mut rng = self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                rng.u16(HOST_PORTS)
            };
            match tokio::net::TcpListener::bind((address, port)).await {
                Ok(listener) => return Ok(listener),
                Err(error) => last_error = error,
            }
        }
        Err(last_error)
    }
}

#[cfg(test)]
mod tests {
    use super::Addresses;

    #[test]
    fn two_simulators_never_share_a_block_and_boxes_never_an_address() {
        let (first, second) = (Addresses::claim(None, 1).unwrap(), Addresses::claim(None, 1).unwrap());
        assert_ne!(first.block, second.block);
        assert!(Addresses::claim(Some(first.block), 1).is_err());
        let given: std::collections::HashSet<_> = (0..5000).map(|_| first.next()).collect();
        assert_eq!(given.len(), 5000);
        assert!(!given.contains(&first.proxy(3)));
    }
}
