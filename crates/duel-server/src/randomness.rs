//! Randomness from the operating system, and what is derived from it.

use sha2::{Digest, Sha256};

/// Draws random bytes from the operating system.
///
/// # Errors
/// When the system has no random source: then ids and secrets would be guessable, so nothing is made up instead.
pub fn bytes<const N: usize>() -> Result<[u8; N], getrandom::Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// The seed of a duel: the start of SHA-256 over a secret and the duel's number.
///
/// So the seeds that are published after each duel tell nothing about the next one.
pub fn duel_seed(secret: u64, duel: i64) -> u64 {
    let digest = Sha256::new().chain_update(secret.to_le_bytes()).chain_update(duel.to_le_bytes()).finalize();
    digest.iter().take(8).fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}
