//! Where the database is: `DATABASE_URL`, parsed.

use std::path::PathBuf;
use std::str::FromStr;

/// A parsed database address.
#[derive(Debug, Clone)]
pub enum Address {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(Box<tokio_postgres::Config>),
}

/// Why an address cannot be used. The address itself is never quoted: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Neither of the schemes.
    #[error("must start with postgresql://, postgres:// or sqlite:")]
    UnknownScheme,
    /// `sqlite:` without a path.
    #[error("names no file after sqlite:")]
    NoPath,
    /// Not a PostgreSQL address.
    #[error("is not of the form postgresql://user:password@host:port/database")]
    Malformed,
    /// No host or no database name in it.
    #[error("names no {0}")]
    Incomplete(&'static str),
}

impl FromStr for Address {
    type Err = AddressFault;

    fn from_str(text: &str) -> Result<Self, AddressFault> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(AddressFault::NoPath) } else { Ok(Self::Sqlite(path.into())) };
        }
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(AddressFault::UnknownScheme);
        }
        let config = tokio_postgres::Config::from_str(text).map_err(|_| AddressFault::Malformed)?;
        if config.get_hosts().is_empty() {
            return Err(AddressFault::Incomplete("host"));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(AddressFault::Incomplete("database"));
        }
        Ok(Self::Postgres(Box::new(config)))
    }
}

impl Address {
    /// The kind of database, for logs and health.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgresql",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_without_being_quoted() {
        assert!(
            matches!("sqlite:/var/lib/duel.db".parse(), Ok(Address::Sqlite(path)) if path.ends_with("duel.db"))
        );
        assert!(matches!("postgresql://u:p@db:5432/duel".parse(), Ok(Address::Postgres(_))));
        for (text, fault) in [
            ("", AddressFault::UnknownScheme),
            ("mysql://u:hunter2@db/duel", AddressFault::UnknownScheme),
            ("sqlite:", AddressFault::NoPath),
            ("postgres://u:hunter2@db:notaport/duel", AddressFault::Malformed),
            ("postgres://u:hunter2@db", AddressFault::Incomplete("database")),
        ] {
            let found = text.parse::<Address>().expect_err(text);
            assert_eq!(found, fault, "{text}");
            assert!(!found.to_string().contains("hunter2"));
        }
    }
}
