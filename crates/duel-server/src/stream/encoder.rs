//! One run of `ffmpeg`: how it is started, fed, and understood.
//!
//! The stream key must not be in the process list. It travels in a preset file that only this user can read, as the
//! RTMP play path, and the file is removed when the run ends.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::canvas::{HEIGHT, WIDTH};
use crate::settings::Destination;

/// Frames per second (deployment guide, "Key Metrics").
pub const FRAME_RATE: u32 = 30;

/// Bit rate of the video in kilobits per second (same source).
pub const BITRATE_KBPS: u32 = 2_500;

/// A preset file with the stream key; removed when dropped.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    /// Writes the file into the system's folder for temporary files, readable by this user only.
    pub fn write(destination: &Destination) -> std::io::Result<Self> {
        let random = crate::randomness::bytes::<8>().map_err(std::io::Error::other)?;
        let name = format!("duel-stream-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = Self { path };
        writeln!(file, "rtmp_playpath={}", destination.key.expose())?;
        Ok(written)
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Starts the encoder; it reads frames from its standard input and reports its progress on its standard output.
pub fn start(program: &Path, destination: &Destination, key: &KeyFile) -> std::io::Result<Child> {
    Command::new(program)
        .args(arguments(destination, &key.path))
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

fn arguments(destination: &Destination, preset: &Path) -> Vec<String> {
    let size = format!("{WIDTH}x{HEIGHT}");
    let (rate, bits) = (FRAME_RATE.to_string(), format!("{BITRATE_KBPS}k"));
    let (buffer, keyframes) = (format!("{}k", BITRATE_KBPS * 2), (FRAME_RATE * 2).to_string());
    let preset = preset.to_string_lossy();
    [
        "-hide_banner -loglevel error -progress pipe:1 -stats_period 0.5",
        &format!("-f rawvideo -pixel_format rgb24 -video_size {size} -framerate {rate} -i pipe:0"),
        // Platforms refuse streams without sound.
        "-f lavfi -i anullsrc=r=44100:cl=stereo -map 0:v -map 1:a -shortest",
        "-vf scale=1280:720:flags=neighbor,format=yuv420p",
        &format!("-c:v libx264 -preset ultrafast -tune zerolatency -r {rate} -g {keyframes}"),
        // A constant rate, padded: platforms measure it, and so does the stall check.
        &format!("-b:v {bits} -minrate {bits} -maxrate {bits} -bufsize {buffer} -x264-params nal-hrd=cbr"),
        "-c:a aac -b:a 128k",
    ]
    .iter()
    .flat_map(|part| part.split(' '))
    .map(str::to_owned)
    .chain([
        "-fpre".to_owned(),
        preset.into_owned(),
        "-f".to_owned(),
        "flv".to_owned(),
        destination.url.clone(),
    ])
    .collect()
}

/// What the encoder last said about itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Progress {
    /// Frames encoded.
    pub frames: u64,
    /// Bytes sent.
    pub bytes: u64,
}

impl Progress {
    /// Takes in one line of the progress report; says whether it ended a block, so that the values belong together.
    pub fn read(&mut self, line: &str) -> bool {
        let Some((name, value)) = line.split_once('=') else { return false };
        let number = || value.trim().parse().ok();
        match name.trim() {
            "frame" => self.frames = number().unwrap_or(self.frames),
            "total_size" => self.bytes = number().unwrap_or(self.bytes),
            "progress" => return true,
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::Secret;

    fn destination() -> Destination {
        let key = Secret::new(String::from("live_canary"));
        Destination { name: "twitch", url: String::from("rtmp://127.0.0.1/app"), key }
    }

    #[test]
    fn the_key_is_in_a_private_file_and_not_among_the_arguments() {
        use std::os::unix::fs::PermissionsExt;
        let key = KeyFile::write(&destination()).expect("written");
        let path = key.path.clone();
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "rtmp_playpath=live_canary\n");
        assert_eq!(path.metadata().expect("there").permissions().mode() & 0o777, 0o600);
        assert!(!arguments(&destination(), &path).concat().contains("canary"));
        drop(key);
        assert!(!path.exists());
    }

    #[test]
    fn a_progress_block_is_read_and_garbage_is_not() {
        let mut progress = Progress::default();
        let lines = ["frame=62", "fps=22.35", "total_size=1008096", "nonsense", "frame=", "total_size=N/A"];
        assert!(lines.iter().all(|line| !progress.read(line)));
        assert!(progress.read("progress=continue"));
        assert_eq!(progress, Progress { frames: 62, bytes: 1_008_096 });
    }

    proptest! {
        #[test]
        fn no_line_of_an_encoder_is_too_strange(line in "\\PC{0,80}") {
            Progress::default().read(&line);
        }
    }
}
