//! The numbered, forward-only migrations that this server carries, and what a database has of them.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::StoreError;

/// A migration of one database kind.
pub struct Migration {
    /// Its number, from 1 without gaps.
    pub version: i64,
    /// What it is about.
    pub name: &'static str,
    /// The statements, run in one transaction.
    pub sql: &'static str,
}

/// The migrations of SQLite.
pub const SQLITE: &[Migration] =
    &[Migration { version: 1, name: "arena", sql: include_str!("migrations/sqlite/0001_arena.sql") }];

/// The migrations of PostgreSQL.
pub const POSTGRES: &[Migration] =
    &[Migration { version: 1, name: "arena", sql: include_str!("migrations/postgres/0001_arena.sql") }];

/// The table that remembers them, in both databases.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    version BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at BIGINT NOT NULL)";

/// Remembers one.
pub const REMEMBER: &str =
    "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1, $2, $3, $4)";

/// Reads them back.
pub const APPLIED: &str = "SELECT version, checksum FROM schema_migrations ORDER BY version";

impl Migration {
    /// SHA-256 of the statements, in hex.
    pub fn checksum(&self) -> String {
        Sha256::digest(self.sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Where one migration stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationState {
    /// Applied, with this content.
    Applied,
    /// Not applied yet.
    Pending,
    /// Applied with another content than this server carries.
    Changed,
    /// Applied by a newer server.
    Unknown,
}

/// One line of `migrate status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationStatus {
    /// Its number.
    pub version: i64,
    /// What it is about.
    pub name: String,
    /// Where it stands.
    pub state: MigrationState,
}

/// Compares what is applied (version → checksum) with what is carried.
pub fn compare(carried: &[Migration], applied: &BTreeMap<i64, String>) -> Vec<MigrationStatus> {
    let known = carried.iter().map(|migration| MigrationStatus {
        version: migration.version,
        name: migration.name.to_owned(),
        state: match applied.get(&migration.version) {
            None => MigrationState::Pending,
            Some(checksum) if *checksum == migration.checksum() => MigrationState::Applied,
            Some(_) => MigrationState::Changed,
        },
    });
    let newest = carried.last().map_or(0, |migration| migration.version);
    let newer = applied.keys().filter(|version| **version > newest).map(|version| MigrationStatus {
        version: *version,
        name: String::from("unknown"),
        state: MigrationState::Unknown,
    });
    known.chain(newer).collect()
}

/// The migrations still to run.
///
/// # Errors
/// When the database has one that this server does not carry, or carries with another content.
pub fn pending<'a>(
    carried: &'a [Migration],
    applied: &BTreeMap<i64, String>,
) -> Result<Vec<&'a Migration>, StoreError> {
    for status in compare(carried, applied) {
        match status.state {
            MigrationState::Applied | MigrationState::Pending => {}
            MigrationState::Changed => return Err(StoreError::MigrationChanged { version: status.version }),
            MigrationState::Unknown => {
                let known = carried.last().map_or(0, |migration| migration.version);
                return Err(StoreError::NewerSchema { found: status.version, known });
            }
        }
    }
    Ok(carried.iter().filter(|migration| !applied.contains_key(&migration.version)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_from_the_future_and_a_changed_migration_are_refused() {
        let newer = BTreeMap::from([(1, SQLITE[0].checksum()), (2, String::from("x"))]);
        assert!(matches!(pending(SQLITE, &newer), Err(StoreError::NewerSchema { found: 2, known: 1 })));
        let changed = BTreeMap::from([(1, String::from("x"))]);
        assert!(matches!(pending(SQLITE, &changed), Err(StoreError::MigrationChanged { version: 1 })));
    }

    #[test]
    fn both_databases_carry_the_same_numbers_without_gaps() {
        for carried in [SQLITE, POSTGRES] {
            let versions: Vec<i64> = carried.iter().map(|migration| migration.version).collect();
            assert_eq!(versions, (1..=SQLITE.len() as i64).collect::<Vec<_>>());
        }
    }
}
