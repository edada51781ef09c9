//! Settings of the RTMP output. Names and defaults are those of the deployment guide's streaming section.

use std::path::PathBuf;
use std::time::Duration;

use super::Secret;
use super::reader::Reader;

/// A place to stream to.
#[derive(Debug, Clone)]
pub struct Destination {
    /// `twitch`, `kick` or `x`.
    pub name: &'static str,
    /// The ingest address, without the key.
    pub url: String,
    /// The stream key.
    pub key: Secret,
}

/// The platform whose delay the public data follow (`STREAMING_CANONICAL_PLATFORM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Platform {
    /// YouTube.
    Youtube,
    /// Twitch.
    Twitch,
    /// Plain HLS.
    Hls,
}

impl Platform {
    /// The name, as in the variable.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Youtube => "youtube",
            Self::Twitch => "twitch",
            Self::Hls => "hls",
        }
    }

    /// How far viewers on the platform typically lag behind.
    fn usual_delay(self) -> i64 {
        match self {
            Self::Youtube => 15_000,
            Self::Twitch => 12_000,
            Self::Hls => 4_000,
        }
    }
}

/// Everything about streaming.
#[derive(Debug, Clone)]
pub struct StreamSettings {
    /// Where to; empty means that streaming is off.
    pub destinations: Vec<Destination>,
    /// `FFMPEG_PATH`: the encoder.
    pub ffmpeg: PathBuf,
    /// `FFMPEG_MAX_RESTART_ATTEMPTS`: starts that may fail in a row before giving up.
    pub max_restarts: u32,
    /// `CAPTURE_RECOVERY_MAX_FAILURES`: stalls recovered by feeding again before the encoder is restarted.
    pub max_recoveries: u32,
    /// `CDP_STALL_THRESHOLD`: stall checks without progress that count as a stall.
    pub stall_checks: u32,
    /// `STREAMING_STALL_INTERVAL_MS`: time between two stall checks.
    pub stall_interval: Duration,
    /// `STREAMING_PUBLIC_DELAY_MS`: how much later the public sees the state.
    pub public_delay: Duration,
    /// `STREAMING_CANONICAL_PLATFORM`, if given.
    pub canonical_platform: Option<Platform>,
}

/// The encoder reads longer lines of a preset file only in part.
const MAX_KEY_BYTES: usize = 900;

/// Each destination with its two variables and its default ingest address.
const PLATFORMS: [(&str, &str, &str, Option<&str>); 3] = [
    ("twitch", "TWITCH_RTMP_URL", "TWITCH_STREAM_KEY", Some("rtmp://live.twitch.tv/app")),
    ("kick", "KICK_RTMP_URL", "KICK_STREAM_KEY", Some("rtmp://ingest.kick.com/live")),
    ("x", "X_RTMP_URL", "X_STREAM_KEY", None),
];

impl StreamSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let platform = reader.optional("STREAMING_CANONICAL_PLATFORM", "youtube, twitch or hls", |text| {
            [Platform::Youtube, Platform::Twitch, Platform::Hls].into_iter().find(|it| it.as_str() == text)
        });
        let delay = platform.map_or(0, Platform::usual_delay);
        Self {
            destinations: PLATFORMS.iter().filter_map(|row| destination(reader, row)).collect(),
            ffmpeg: reader.text("FFMPEG_PATH").map_or_else(|| PathBuf::from("ffmpeg"), PathBuf::from),
            max_restarts: reader.number("FFMPEG_MAX_RESTART_ATTEMPTS", 8, 0, 1_000) as u32,
            max_recoveries: reader.number("CAPTURE_RECOVERY_MAX_FAILURES", 4, 0, 1_000) as u32,
            stall_checks: reader.number("CDP_STALL_THRESHOLD", 4, 1, 1_000) as u32,
            stall_interval: reader.milliseconds("STREAMING_STALL_INTERVAL_MS", 30_000, 10, 600_000),
            public_delay: reader.milliseconds("STREAMING_PUBLIC_DELAY_MS", delay, 0, 600_000),
            canonical_platform: platform,
        }
    }
}

fn destination(
    reader: &mut Reader<'_>,
    (name, url, key, default): &(&'static str, &'static str, &'static str, Option<&'static str>),
) -> Option<Destination> {
    let rtmp = |text: &str| {
        let parsed = reqwest::Url::parse(text).ok()?;
        (matches!(parsed.scheme(), "rtmp" | "rtmps") && parsed.has_host()).then(|| text.to_owned())
    };
    let given = reader.optional(url, "an rtmp(s) address", rtmp);
    let variable = key;
    let key = reader.secret(key, false, 1)?;
    // The key is a line of a file for the encoder: white space in it could become another setting.
    if !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) || key.expose().len() > MAX_KEY_BYTES {
        let what = format!("must be at most {MAX_KEY_BYTES} visible ASCII characters");
        reader.fault(variable, what);
        return None;
    }
    let Some(url) = given.or_else(|| default.map(str::to_owned)) else {
        if reader.text(url).is_none() {
            reader.fault(url, String::from("is required beside its stream key"));
        }
        return None;
    };
    Some(Destination { name, url, key })
}
