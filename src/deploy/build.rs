//! Building on the box: a commit is checked out and built there, an image is pulled there. Slow, and all of it before anything is
//! switched; a build that a lost connection or a dead keeper left behind goes on, and is waited for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    artifact::Artifact, fault::DeployFault, job::Job, recipe::checkout, request::Strategy, run::Run,
    step::Step,
};
use crate::remote::quote;

/// How a release is made on the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeBuild {
    /// What `git` fetches from.
    pub url: String,
    /// For `sh`, in the tree; `None` builds nothing.
    pub build: Option<String>,
    /// How long fetching may take, and how long building.
    pub limit: Duration,
}

/// How an image comes to the box.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImagePull {
    /// The engine's command.
    pub engine: String,
    /// The image, pinned by its digest, or by its id where it comes as an archive.
    pub image: String,
    /// Whether what is uploaded is the image itself, as an archive.
    #[serde(default)]
    pub archive: bool,
    /// How long that may take.
    pub limit: Duration,
}

impl Run<'_> {
    /// Makes on the box what the release's launcher needs.
    pub(super) async fn build(
        &mut self,
        strategy: &Strategy,
        name: &str,
        artifact: &Artifact,
    ) -> Result<String, DeployFault> {
        match strategy {
            Strategy::Artifact => Ok(String::new()),
            Strategy::Git(with) => self.build_tree(with, name, &artifact.commit).await,
            Strategy::Docker(with) if with.archive => {
                let command = load(with, artifact.name());
                let ended = self.job(Step::Build, &Job::new("load", &command, "", with.limit)).await?;
                ended.good("loading the image", self)?;
                Ok(with.image.clone())
            }
            Strategy::Docker(with) => {
                let (engine, image) = (quote(&with.engine), quote(&with.image));
                // Pulled by its digest, an image is proven by the engine; one that is here was.
                let command =
                    format!("{engine} image inspect {image} >/dev/null 2>&1 || exec {engine} pull {image}");
                let ended = self.job(Step::Build, &Job::new("pull", &command, "", with.limit)).await?;
                ended.good("pulling the image", self)?;
                Ok(with.image.clone())
            }
        }
    }

    async fn build_tree(&mut self, with: &TreeBuild, name: &str, sha: &str) -> Result<String, DeployFault> {
        let place = format!("builds/{name}/tree");
        // What an earlier deploy has built is taken; what it left half-made is not.
        let fetch = format!(
            "[ ! -f ../built ] || exit 0\nfind . -mindepth 1 -maxdepth 1 -exec rm -rf -- {{}} +\n{}",
            checkout(&with.url, sha)
        );
        // One slot for both: a checkout must not clear the tree away under a build that somebody left running.
        let job = |command| Job { place: &place, ..Job::new("build", command, "", with.limit) };
        let ended = self.job(Step::Build, &job(&fetch)).await?;
        if ended.rc == 69 {
            // Whoever gives the code away, or the way there, is at fault; another box may reach it.
            return Err(DeployFault::Box(ended.words("fetching the code", self)));
        }
        ended.good("the checkout", self)?;
        let build = with.build.as_deref().unwrap_or(":");
        let build = format!(
            "[ ! -f ../built ] || exit 0\n(\n{build}\n)\nrc=$?\n[ \"$rc\" -ne 0 ] || : >../built\nexit \"$rc\""
        );
        let ended = self.job(Step::Build, &job(&build)).await?;
        ended.good("the build", self)?;
        Ok(sha.to_owned())
    }
}

/// The command that loads an image from its archive, which was proven after its upload. The engine in turn proves that every layer
/// is what the image's id says. The archive is where its upload was put, or in a release of before with other settings.
fn load(with: &ImagePull, artifact: &str) -> String {
    let (engine, image) = (quote(&with.engine), quote(&with.image));
    format!(
        r#"{engine} image inspect {image} >/dev/null 2>&1 && exit 0
for archive in ../incoming/{artifact} ../releases/{artifact}-*/server; do
  [ -f "$archive" ] || continue
  {engine} load -i "$archive" || exit
  {engine} image inspect {image} >/dev/null 2>&1 && exit 0
  echo 'the archive holds another image than' {image} >&2
  exit 65
done
echo 'the archive is not on the box any more' >&2
exit 66
"#
    )
}
