//! wip
pub mod arena;
pub mod build_info;
pub mod clock;
pub mod director;
pub mod metrics;
pub mod randomness;
pub mod store;
pub mod view;
pub mod vitals;

/// chain
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
