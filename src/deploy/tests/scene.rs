//! One box under one method, on which one piece of work after the other is begun, killed, and done again.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use super::{
    order::{CODE, Order, Program, Work},
    stage::{Stage, releases},
    stand_ins::{
        ENGINE, Repository, UnitFile, by_command, image, pm2, program, unit, wants_commit, wants_image,
    },
    *,
};
use crate::maintenance::Client;

/// Longest time until a box has its server again, or has decided: the longest trial, and a stop that takes its time.
const PATIENCE: Duration = Duration::from_secs(300);
/// Each look goes through all processes of the machine, which has to do other things.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest that a box may be held after a keeper's death: an upload might have been under way (`run.rs`).
const LEASE_MAX_S: u64 = 900;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Git,
    Docker,
    Systemd,
    Pm2,
    Command,
    Url,
    Adopted,
}

/// Names the row of a test that fails.
pub(super) struct Row(pub String);

impl Drop for Row {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("── {}", self.0);
        }
    }
}

pub(super) struct Scene {
    kind: Kind,
    stage: Stage,
    pub order: Order,
    /// What the server told before the work, and what it tells after it.
    before: String,
    pub after: String,
    number: usize,
    /// Bytes that its programs are larger than they need to be.
    pub ballast: usize,
    /// Names of the releases that were verified, with what their servers tell.
    known: Vec<(String, String)>,
    repository: Option<Repository>,
    theirs: Option<Child>,
    _unit: Option<UnitFile>,
}

impl Scene {
    /// A box; with [`Kind::Adopted`] somebody else's server is on it.
    pub(super) async fn new(kind: Kind) -> Option<Self> {
        let mut stage = Stage::new().await?;
        let mut removed = None;
        match kind {
            Kind::Systemd => {
                let (service, guard) = unit(&stage)?;
                removed = Some(guard);
                stage.request.method.manager = Manager::Systemd { service };
            }
            Kind::Pm2 => {
                program(&stage, "pm2", &pm2());
                stage.request.method.manager = Manager::Pm2 { service: "duel".into() };
            }
            Kind::Command => stage.request.method.manager = by_command(),
            Kind::Docker => program(&stage, "engine", ENGINE),
            Kind::Data => stage.request.method.migrate = migrate(),
            Kind::Git | Kind::Url | Kind::Adopted => {}
        }
        let order = Order {
            folder: stage.sshd.folder.path().to_owned(),
            ssh_port: stage.sshd.port,
            server_port: stage.request.site.server_port,
            work: Work::Deploy,
            program: Program::File(releases()[0].clone()),
            commit: "aaaa111".into(),
            named: Some("aaaa111".into()),
            method: stage.request.method.clone(),
            backup: if kind == Kind::Data { backup() } else { Backup::default() },
            adopt: kind == Kind::Adopted,
            odd: "at first".into(),
            // What a container writes comes to the log a moment later.
            logged: if kind == Kind::Docker { vec![] } else { vec!["serving".into()] },
            trial: (Duration::from_secs(60), Duration::from_secs(30)),
        };
        let repository = (kind == Kind::Git).then(Repository::new);
        let theirs = (kind == Kind::Adopted).then(|| stranger(&stage));
        let mut scene = Self {
            kind,
            stage,
            order,
            before: "theirs".into(),
            after: "at first".into(),
            number: 0,
            ballast: 0,
            known: vec![],
            repository,
            theirs,
            _unit: removed,
        };
        scene.chooses_its_program().await;
        if kind == Kind::Adopted {
            scene.stage.health("commit", |_| true).await;
        }
        Some(scene)
    }

    /// Another release is wanted: of another program, and with other settings.
    pub(super) async fn next_release(&mut self) {
        self.number += 1;
        self.order.work = Work::Deploy;
        self.after = format!("{:?} {}", self.kind, self.number);
        self.order.odd.clone_from(&self.after);
        self.chooses_its_program().await;
    }

    /// Gives the order a program that this box never had.
    async fn chooses_its_program(&mut self) {
        let (stage, order) = (&mut self.stage, &mut self.order);
        let release = self.number % 2;
        let named = ["aaaa111", "bbbb222"][release];
        order.named = Some(named.into());
        order.commit = named.into();
        let fresh = || {
            let mut bytes = fs::read(&releases()[release]).unwrap();
            bytes.extend_from_slice(self.after.as_bytes());
            bytes.resize(bytes.len() + self.ballast, b'.');
            let path = order.folder.join(format!("program-{}", self.number));
            fs::write(&path, &bytes).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            (path, bytes)
        };
        match self.kind {
            Kind::Git => {
                let repository = self.repository.as_ref().unwrap();
                let rev = repository.commit(release);
                wants_commit(stage, repository, &rev, "sleep 0.3; sh build.sh").await;
                order.named = None;
            }
            Kind::Docker => {
                let pinned = image(stage, release, self.number);
                wants_image(stage, &pinned, named).await;
            }
            Kind::Url => {
                let (_, bytes) = fresh();
                let sha256 = artifact::sha256(&bytes);
                let folder = order.folder.join("fetched");
                order.program = Program::Url { url: store(bytes), sha256, folder };
                return;
            }
            Kind::Data => {
                order.program = Program::File(fresh().0);
                return;
            }
            Kind::Systemd | Kind::Pm2 | Kind::Command | Kind::Adopted => {
                order.program = Program::File(releases()[release].clone());
                return;
            }
        }
        order.program = Program::File(stage.request.artifact.path.clone());
        order.commit.clone_from(&stage.request.artifact.commit);
        order.method = stage.request.method.clone();
    }

    /// The work is done, undisturbed, for the first time.
    pub(super) async fn serves(&mut self) {
        self.work_ends_well().await;
        if self.kind == Kind::Data {
            fs::write(self.rows(), format!("rows of {}\n", self.after)).unwrap();
        }
        self.is_clean().await;
    }

    /// The same work again, by the next keeper.
    pub(super) async fn work_ends_well(&mut self) {
        let done = self.order.carry_out(&self.stage.remote).await;
        let done = done.unwrap_or_else(|fault| panic!("the next one fails: {fault:?}"));
        self.now_serves(done).await;
    }

    /// The work ended well.
    pub(super) async fn now_serves(&mut self, done: Deployed) {
        assert_eq!(done.closed, None);
        if let Some(mut theirs) = self.theirs.take() {
            theirs.wait().unwrap();
        }
        // A machine that does much else may let a server wait for longer than one question does.
        let mut told = None;
        let answers = self.within_patience(async || {
            told = self.stage.get("/odd").await;
            told.is_some()
        });
        answers.await;
        assert_eq!(told.as_ref(), Some(&self.after));
        self.before.clone_from(&self.after);
        if !self.known.iter().any(|(name, _)| *name == done.name) {
            self.known.push((done.name, self.after.clone()));
        }
    }

    /// Back to the one of the first two releases that does not serve.
    pub(super) fn wants_the_other(&mut self) {
        let other = self.known.iter().find(|(_, odd)| *odd != self.before).unwrap().clone();
        (self.order.work, self.after) = (Work::GoBack(Some(other.0)), other.1);
    }

    /// Right after a death: the old or the new server answers, and there is no other.
    pub(super) async fn has_one_server(&self) {
        let mut told = None;
        let well = self.within_patience(async || {
            let servers = self.servers();
            assert!(servers <= 2, "{servers} servers");
            told = self.stage.get("/odd").await;
            servers == 1 && told.as_ref().is_some_and(|odd| [&self.before, &self.after].contains(&odd))
        });
        assert!(well.await, "{} servers, and it tells {told:?}", self.servers());
    }

    /// Nobody holds the box for longer than a lease lasts.
    pub(super) fn is_held_for_a_while_only(&self) {
        let Ok(lease) = fs::read_to_string(self.stage.keeper("run/lease")) else { return };
        let until: u64 = lease.split(' ').nth(1).unwrap().parse().unwrap();
        let now = crate::clock::Clock::new().now().0 / 1000;
        assert!(until <= now + LEASE_MAX_S, "{lease}: held for {} s", until.saturating_sub(now));
    }

    /// One server, verified, open to players, and nothing left of all that went wrong.
    pub(super) async fn is_clean(&self) {
        assert_eq!(self.servers(), 1);
        assert!(self.stage.keeper("current/.verified").exists());
        for left in ["run/pending", "run/maintenance", "run/lease", "data/clash", "backups/.new"] {
            assert!(!self.stage.keeper(left).exists(), "{left} is left");
        }
        let half_made = self.stage.release_names().into_iter().find(|name| name.starts_with('.'));
        assert_eq!(half_made, None);
        let lock = self.stage.keeper("run/deploy.lock");
        let free = Command::new("flock").arg("-n").arg(lock).arg("true").status().unwrap();
        assert!(free.success(), "the box is locked");
        assert!(self.is_open().await, "it is in maintenance");
    }

    async fn is_open(&self) -> bool {
        let client = Client::new(self.stage.request.site.public, CODE.into()).unwrap();
        client.status().await.is_ok_and(|status| !status.active)
    }

    /// Nobody comes: the trial ends, one way or the other, and what `current` names is what serves.
    pub(super) async fn decides_by_itself(&self) {
        let decided = self.within_patience(async || {
            let verified = self.stage.keeper("current/.verified").exists();
            // What the keeper has begun may still be under way; the server of before is at rest until then.
            verified
                && !self.stage.keeper("run/pending").exists()
                && self.servers() == 1
                && self.is_open().await
        });
        assert!(decided.await, "it does not decide, {} servers: {}", self.servers(), self.seen());
        let serving = &self.known.iter().find(|(name, _)| *name == self.stage.release());
        let odd = serving.as_ref().map_or(&self.after, |(_, odd)| odd);
        let told = self.within_patience(async || self.stage.get("/odd").await.as_ref() == Some(odd));
        assert!(told.await, "`current` is {}, and another one serves", self.stage.release());
        assert!(self.is_open().await);
    }

    /// What the box tells of its trial.
    fn seen(&self) -> String {
        let told =
            ["log/deploys.log", "log/supervisor.log", "run/pending", "run/reverted", "run/maintenance"];
        let told = told.map(|name| {
            let text = fs::read_to_string(self.stage.keeper(name));
            text.map_or_else(|_| format!("no {name}"), |text| format!("{name}:\n{text}"))
        });
        format!("`current` is {}\n{}", self.stage.release(), told.join("\n"))
    }

    pub(super) fn rows(&self) -> PathBuf {
        self.stage.keeper("data/rows")
    }

    pub(super) async fn youngest_backup(&self) -> String {
        let address = self.stage.request.site.address();
        let found = backups(&self.stage.remote, &address, PATIENCE).await.unwrap();
        found[0].name.clone()
    }

    /// Processes on the box that are a server: of a release, a built tree or an image.
    pub(super) fn servers(&self) -> usize {
        let home = self.stage.sshd.home();
        let serves = |entry: &fs::DirEntry| {
            let exe = fs::read_link(entry.path().join("exe"));
            exe.is_ok_and(|exe| exe.starts_with(&home) && exe.to_string_lossy().contains("/server"))
        };
        let theirs = usize::from(self.theirs.as_ref().is_some_and(|child| stage::alive(child.id())));
        theirs + fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(serves).count()
    }

    async fn within_patience(&self, mut holds: impl AsyncFnMut() -> bool) -> bool {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            if holds().await {
                return true;
            }
            if tokio::time::Instant::now() > until {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn backup() -> Backup {
    Backup {
        command: Some("cat rows 2>/dev/null || echo no rows yet".into()),
        check: Some("grep -q rows".into()),
        restore: Some("sleep 0.2; cat >rows.new && mv rows.new rows".into()),
        // None that a row of the table needs is forgotten before its turn.
        keep: 50,
        limit: Duration::from_secs(20),
    }
}

/// A migration that takes its time, and tells when another one runs beside it.
fn migrate() -> Migrate {
    Migrate {
        status: Some("cat schema 2>/dev/null".into()),
        run: Some(
            "mkdir migrating || echo two >>clash; sleep 0.2; echo \"$ODD\" >schema; rmdir migrating".into(),
        ),
        validate: Some("[ \"$(cat schema)\" = \"$ODD\" ]".into()),
        limit: Duration::from_secs(20),
        ..Migrate::default()
    }
}

/// Somebody else's server, started by hand.
fn stranger(stage: &Stage) -> Child {
    let mut command = Command::new(&releases()[1]);
    command.env_clear().env("PORT", stage.request.site.server_port.to_string()).env("HOST", "127.0.0.1");
    command.env("ODD", "theirs").env("ADMIN_CODE", CODE).current_dir(stage.sshd.folder.path());
    std::os::unix::process::CommandExt::process_group(&mut command, 0).spawn().unwrap()
}

/// Serves a file in pieces, as often as it is asked for; ends with the test program.
fn store(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/server", listener.local_addr().unwrap());
    let bytes = Arc::new(bytes);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
            let _ = stream.write_all(head.as_bytes());
            for piece in bytes.chunks(bytes.len().div_ceil(8)) {
                let sent = stream.write_all(piece).and_then(|()| stream.flush());
                if sent.is_err() {
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    });
    url
}
