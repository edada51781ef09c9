//! What this binary is: version, commit and build time, baked in by the build script.
//!
//! Deliberately absent: anything read at run time. A deploy is verified against these values, so they must travel
//! inside the artifact.

/// The crate's version, as in its manifest.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit the binary was built from (full hash, never with a "-dirty" suffix), or `unknown` outside git.
pub const COMMIT: &str = env!("DUEL_SERVER_COMMIT");

/// What `--version` prints after the program's name.
pub const VERSION_LINE: &str =
    concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("DUEL_SERVER_COMMIT"), ")");

/// When the binary was built, RFC 3339 in UTC (or `unknown` if the baked number is out of range).
pub fn build_time() -> String {
    env!("DUEL_SERVER_BUILD_EPOCH")
        .parse()
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| "unknown".to_owned(), |time| time.to_string())
}
