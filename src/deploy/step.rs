//! The steps of a deploy: what each is called, which part of the runbook it belongs to, and how long that part should take. Pure.

use std::{fmt, time::Duration};

/// One step of a deploy, in the order of a full one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Get a session.
    Connect,
    /// See what is there.
    Assess,
    /// Send the artifact, into a temporary name.
    Upload,
    /// Read it back from the box's disk, and only then give it its name.
    Verify,
    /// Check out and build there, or pull there, what the program needs.
    Build,
    /// Make program and settings a release folder by one rename.
    Seal,
    /// Take over, as release 0, what somebody else has started on the server's port.
    Adopt,
    /// Keep what is needed to come back: settings, release, and a dump of the data.
    Backup,
    /// Bring the server that runs to rest: maintenance, and the end of what it is doing.
    Enter,
    /// Write who this box is, which its server is given on top of the release's settings.
    Configure,
    /// Bring the data to the schema that the release needs.
    Migrate,
    /// Bring the data of a backup back.
    Restore,
    /// Point `current` at it, on trial: unconfirmed, the box goes back by itself.
    Switch,
    /// Restart the server under the supervisor.
    Start,
    /// Prove it from outside.
    Gate,
    /// Prove what the configuration declares besides: other paths, a WebSocket, the server's log.
    Smoke,
    /// Over a new connection, end the trial and mark it verified.
    Confirm,
    /// Let the server go on.
    Exit,
    /// Remove what is not kept.
    Prune,
}

/// The part of a deploy that a step belongs to, as people plan and time it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Look at what is there.
    Assess,
    /// Keep what is needed to come back.
    Prepare,
    /// Bring the release to the box.
    Deploy,
    /// Bring what runs to rest.
    Stop,
    /// Settings and identity.
    Configure,
    /// Stop the old server, start the new one.
    Start,
    /// Prove it.
    Verify,
    /// Prove what else is declared.
    Smoke,
    /// Let it stay.
    Traffic,
    /// Tidy up.
    After,
}

impl Part {
    /// How long it should take at most: the targets of the deployment runbook.
    #[must_use]
    pub fn target(self) -> Duration {
        let minutes = match self {
            Self::Assess | Self::Prepare | Self::Verify | Self::Smoke => 5,
            Self::Deploy => 10,
            Self::Configure | Self::After => 3,
            Self::Stop | Self::Start | Self::Traffic => 2,
        };
        Duration::from_secs(minutes * 60)
    }
}

impl Step {
    /// The word shown to people.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Assess => "assess",
            Self::Upload => "upload",
            Self::Verify => "verify",
            Self::Build => "build",
            Self::Seal => "seal",
            Self::Adopt => "adopt",
            Self::Backup => "backup",
            Self::Enter => "enter-maintenance",
            Self::Configure => "configure",
            Self::Migrate => "migrate",
            Self::Restore => "restore",
            Self::Switch => "switch",
            Self::Start => "start",
            Self::Gate => "gate",
            Self::Smoke => "smoke",
            Self::Confirm => "confirm",
            Self::Exit => "exit-maintenance",
            Self::Prune => "prune",
        }
    }

    /// The part it belongs to.
    #[must_use]
    pub fn part(self) -> Part {
        match self {
            Self::Connect | Self::Assess => Part::Assess,
            Self::Adopt | Self::Backup => Part::Prepare,
            Self::Upload | Self::Verify | Self::Build | Self::Seal | Self::Restore => Part::Deploy,
            Self::Enter => Part::Stop,
            Self::Configure | Self::Migrate => Part::Configure,
            Self::Switch | Self::Start => Part::Start,
            Self::Gate => Part::Verify,
            Self::Smoke => Part::Smoke,
            Self::Confirm | Self::Exit => Part::Traffic,
            Self::Prune => Part::After,
        }
    }

    /// The script that runs on the box, where there is one. Values and what is secret are not part of it.
    #[must_use]
    pub fn script(self) -> Option<&'static str> {
        match self {
            Self::Connect | Self::Gate | Self::Exit => None,
            Self::Enter => Some(include_str!("scripts/maintenance.sh")),
            Self::Upload => Some(include_str!("../remote/upload.sh")),
            Self::Verify => Some(include_str!("../remote/settle.sh")),
            Self::Assess => Some(include_str!("scripts/assess.sh")),
            Self::Adopt => Some(include_str!("scripts/adopt.sh")),
            Self::Backup => Some(include_str!("scripts/backup.sh")),
            Self::Build | Self::Migrate | Self::Restore => Some(include_str!("scripts/job.sh")),
            Self::Seal => Some(include_str!("scripts/seal.sh")),
            Self::Configure => Some(include_str!("scripts/configure.sh")),
            Self::Switch => Some(include_str!("scripts/switch.sh")),
            Self::Start => Some(include_str!("scripts/start.sh")),
            Self::Smoke => Some(include_str!("scripts/proof.sh")),
            Self::Confirm => Some(include_str!("scripts/confirm.sh")),
            Self::Prune => Some(include_str!("scripts/prune.sh")),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
