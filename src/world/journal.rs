//! The journal as the store keeps it: as text, folded anew after each crash.

use crate::fleet::{apply::Misfit, journal::Entry, state::Fleet};

/// Entries shown of a run that broke a promise.
const LAST_WORDS: usize = 80;

/// What is durable.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Every entry as text, from the beginning.
    texts: Vec<String>,
    /// The fold of the first `folded` of them.
    state: Fleet,
    folded: usize,
    /// Over all texts.
    pub hash: u64,
}

/// Why a journal does not fold.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfoldable {
    #[error("a record cannot be read back")]
    Text(#[from] serde_json::Error),
    #[error("a record does not fit")]
    Misfit(#[from] Misfit),
}

impl Journal {
    pub fn append(&mut self, entries: &[Entry]) -> Result<(), Unfoldable> {
        for entry in entries {
            let text = serde_json::to_string(entry)?;
            self.hash = mixed(self.hash, text.as_bytes());
            self.texts.push(text);
        }
        Ok(())
    }

    /// All that was durable is lost.
    pub fn lose(&mut self) {
        *self = Self { hash: self.hash, ..Self::default() };
    }

    /// How long it is, and the state that it holds.
    pub fn copied(&mut self) -> Result<(usize, Fleet), Unfoldable> {
        let state = self.fold()?.clone();
        Ok((self.folded, state))
    }

    /// A copy of its first `words` words, which fold to `state`, takes its place.
    pub fn bring_back(&mut self, words: usize, state: Fleet) {
        self.texts.truncate(words);
        (self.folded, self.state) = (words, state);
    }

    /// The state that the journal holds, read from its text.
    pub fn fold(&mut self) -> Result<&Fleet, Unfoldable> {
        for text in self.texts.iter().skip(self.folded) {
            self.state.apply(&serde_json::from_str(text)?)?;
            self.folded += 1;
        }
        Ok(&self.state)
    }

    /// Folds what was added to the journal into its own copy and changes places with `live`, the state of a keeper that died
    /// having made durable all that it knew: so each of the two goes on from the other, and a difference stays until the
    /// whole journal is folded at the end.
    pub fn fold_beside(&mut self, live: &mut Fleet) -> Result<(), Unfoldable> {
        self.fold()?;
        std::mem::swap(&mut self.state, live);
        Ok(())
    }

    /// The last entries as text, oldest first.
    pub fn last_words(&self) -> Vec<String> {
        let surplus = self.texts.len().saturating_sub(LAST_WORDS);
        self.texts.iter().skip(surplus).cloned().collect()
    }

    /// The same from the very beginning, with nothing remembered.
    pub fn fold_anew(&self) -> Result<Fleet, Unfoldable> {
        let mut state = Fleet::default();
        for text in &self.texts {
            state.apply(&serde_json::from_str(text)?)?;
        }
        Ok(state)
    }
}

/// A word of eight bytes at a time through the mixing of SplitMix64: fast, and the same on every machine.
fn mixed(hash: u64, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(hash ^ bytes.len() as u64, |hash, chunk| {
        let word = chunk.iter().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
        let mixed = (hash ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}
