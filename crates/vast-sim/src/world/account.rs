//! The account: credit and its registered SSH keys.

/// A key registered with the account; new instances get it.
#[derive(Debug, Clone)]
pub(crate) struct AccountKey {
    pub(crate) id: u64,
    pub(crate) public_key: String,
    pub(crate) created_at: f64,
}

/// The one account of the simulator.
#[derive(Debug)]
pub(crate) struct Account {
    /// Spendable dollars; may fall a little below zero before everything is stopped.
    pub(crate) credit: f64,
    pub(crate) spent: f64,
    pub(crate) keys: Vec<AccountKey>,
}

impl Account {
    pub(crate) fn new(credit: f64) -> Self {
        Account { credit, spent: 0.0, keys: Vec::new() }
    }

    pub(crate) fn charge(&mut self, dollars: f64) {
        self.credit -= dollars;
        self.spent += dollars;
    }
}
