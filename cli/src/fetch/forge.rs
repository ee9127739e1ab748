//! `github`, `gitlab` and `sourcehut`: a branch is looked up in the forge's interface, a revision is downloaded as an
//! archive. What a revision's archive holds does not change, so it is downloaded once. Nix manual, `fetchTree`,
//! `access-tokens` in nix.conf(5).

use super::{Attributes, Fetcher, Want};
use crate::nix_conf::NixConf;
use evaluator::io::{IoError, TreeAttribute, TreeInput};
use formats::store_path::StorePath;
use serde_json::Value;

/// What a repository is called at its forge.
struct Repository<'i> {
    forge: &'i str,
    host: &'i str,
    owner: &'i str,
    name: &'i str,
    token: Option<String>,
}

type Headers = Vec<(&'static str, String)>;

fn refused(message: impl Into<String>) -> IoError {
    IoError::Store(message.into())
}

impl<'i> Repository<'i> {
    fn of(input: &'i TreeInput, conf: &NixConf) -> Result<Self, IoError> {
        let needed = |name: &str| {
            input
                .text(name)
                .ok_or_else(|| IoError::Unsupported(format!("input attribute '{name}' is missing")))
        };
        let (owner, name) = (needed("owner")?, needed("repo")?);
        let host = input.text("host").unwrap_or(match input.kind.as_str() {
            "github" => "github.com",
            "gitlab" => "gitlab.com",
            _ => "git.sr.ht",
        });
        let tokens = conf.words("access-tokens");
        // The longest prefix of HOST/OWNER/REPO that has a token.
        let whole = format!("{host}/{owner}/{name}");
        let matching = tokens.iter().filter_map(|word| word.split_once('=')).filter(|(place, _)| {
            whole.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        let token = matching.max_by_key(|(place, _)| place.len()).map(|(_, token)| token.to_owned());
        Ok(Self { forge: &input.kind, host, owner, name, token })
    }

    fn headers(&self) -> Headers {
        let Some(token) = &self.token else { return Headers::new() };
        match (self.forge, token.split_once(':')) {
            ("github", _) => vec![("Authorization", format!("token {token}"))],
            ("gitlab", Some(("OAuth2", token))) => vec![("Authorization", format!("Bearer {token}"))],
            ("gitlab", Some(("PAT", token))) => vec![("Private-token", token.to_owned())],
            ("gitlab", _) => {
                log::warn!("Unrecognized access token for host '{}'", self.host);
                Headers::new()
            }
            _ => vec![("Authorization", format!("Bearer {token}"))],
        }
    }

    /// Where the forge says at which revision a branch is.
    fn branch_url(&self, branch: &str) -> String {
        let Self { host, owner, name, .. } = self;
        match self.forge {
            "github" if *host == "github.com" => {
                format!("https://api.github.com/repos/{owner}/{name}/commits/{branch}")
            }
            "github" => format!("https://{host}/api/v3/repos/{owner}/{name}/commits/{branch}"),
            "gitlab" => {
                let owner = owner.replace('/', "%2F");
                format!(
                    "https://{host}/api/v4/projects/{owner}%2F{name}/repository/commits?ref_name={branch}"
                )
            }
            _ => format!("https://{host}/{owner}/{name}/info/refs"),
        }
    }

    /// Where the archive of a revision is.
    fn archive_url(&self, revision: &str) -> String {
        let Self { host, owner, name, .. } = self;
        match self.forge {
            "github" if *host != "github.com" => {
                format!("https://{host}/api/v3/repos/{owner}/{name}/tarball/{revision}")
            }
            // The public archives have no limit on how often they are asked for.
            "github" if self.token.is_none() => {
                format!("https://{host}/{owner}/{name}/archive/{revision}.tar.gz")
            }
            "github" => format!("https://api.{host}/repos/{owner}/{name}/tarball/{revision}"),
            "gitlab" => {
                let owner = owner.replace('/', "%2F");
                format!(
                    "https://{host}/api/v4/projects/{owner}%2F{name}/repository/archive.tar.gz?sha={revision}"
                )
            }
            _ => format!("https://{host}/{owner}/{name}/archive/{revision}.tar.gz"),
        }
    }

    fn revision_of(&self, fetcher: &Fetcher<'_>, branch: &str) -> Result<String, IoError> {
        let read = |url: &str| -> Result<String, IoError> {
            let got = fetcher.download_with(url, "source", Want::File, false, &self.headers())?;
            let file = fetcher.store.real_path(&got.path);
            let text = std::fs::read(&file).map_err(super::system("reading", &file))?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let mut branch = branch.to_owned();
        if self.forge == "sourcehut" && branch == "HEAD" {
            let url = format!("https://{}/{}/{}/HEAD", self.host, self.owner, self.name);
            read(&url)?.trim().trim_start_matches("ref: ").clone_into(&mut branch);
        }
        let text = read(&self.branch_url(&branch))?;
        let found = if self.forge == "sourcehut" {
            revision_in_refs(&text, &branch)
        } else {
            revision_in_json(self.forge, &text)
        };
        found.ok_or_else(|| {
            refused(format!(
                "{} knows no branch or tag '{branch}' of {}/{}",
                self.host, self.owner, self.name
            ))
        })
    }
}

/// The revision in what a forge says of a branch.
fn revision_in_json(forge: &str, text: &str) -> Option<String> {
    let json: Value = serde_json::from_str(text).ok()?;
    let field = if forge == "github" { json.get("sha") } else { json.get(0)?.get("id") };
    field?.as_str().filter(|text| is_revision(text)).map(str::to_owned)
}

/// The revision of a branch or tag in git's list of them.
fn revision_in_refs(text: &str, branch: &str) -> Option<String> {
    let names = [branch.to_owned(), format!("refs/heads/{branch}"), format!("refs/tags/{branch}")];
    let mut lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines
        .find(|(revision, name)| is_revision(revision) && names.iter().any(|known| known == name))
        .map(|(revision, _)| revision.to_owned())
}

fn is_revision(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

pub(super) fn fetch(
    fetcher: &Fetcher<'_>,
    input: &TreeInput,
    name: &str,
    attributes: &mut Attributes,
) -> Result<StorePath, IoError> {
    let repository = Repository::of(input, &NixConf::load())?;
    let revision = match input.text("rev") {
        Some(revision) => revision.to_owned(),
        None => repository.revision_of(fetcher, input.text("ref").unwrap_or("HEAD"))?,
    };
    let url = repository.archive_url(&revision);
    let got = fetcher.download_with(&url, name, Want::Tree, true, &repository.headers())?;
    attributes.remove("ref");
    attributes.insert("rev".to_owned(), TreeAttribute::Text(revision));
    attributes.insert("lastModified".to_owned(), TreeAttribute::Int(got.time));
    Ok(got.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REV: &str = "b0c285b0c285b0c285b0c285b0c285b0c285b0c2";

    fn addresses(kind: &str, owner: &str, host: Option<&str>, tokens: &str) -> (String, String, Headers) {
        let mut attributes =
            Attributes::from([("owner".to_owned(), owner.into()), ("repo".to_owned(), "r".into())]);
        if let Some(host) = host {
            attributes.insert("host".to_owned(), host.into());
        }
        let input = TreeInput { kind: kind.to_owned(), attributes, is_final: false };
        let mut conf = NixConf::default();
        conf.assign("access-tokens", tokens);
        let repository = Repository::of(&input, &conf).unwrap();
        (repository.branch_url("b"), repository.archive_url(REV).replace(REV, "REV"), repository.headers())
    }

    #[test]
    fn where_forges_are_asked() {
        let none = Headers::new();
        for (kind, owner, host, tokens, branch, archive, headers) in [
            (
                "github",
                "o",
                None,
                "example.org=x",
                "https://api.github.com/repos/o/r/commits/b",
                "https://github.com/o/r/archive/REV.tar.gz",
                none.clone(),
            ),
            (
                "github",
                "o",
                None,
                "github.com=x github.com/o=y",
                "https://api.github.com/repos/o/r/commits/b",
                "https://api.github.com/repos/o/r/tarball/REV",
                vec![("Authorization", "token y".to_owned())],
            ),
            (
                "github",
                "o",
                Some("h.x"),
                "",
                "https://h.x/api/v3/repos/o/r/commits/b",
                "https://h.x/api/v3/repos/o/r/tarball/REV",
                none.clone(),
            ),
            (
                "gitlab",
                "o/p",
                None,
                "gitlab.com=PAT:z",
                "https://gitlab.com/api/v4/projects/o%2Fp%2Fr/repository/commits?ref_name=b",
                "https://gitlab.com/api/v4/projects/o%2Fp%2Fr/repository/archive.tar.gz?sha=REV",
                vec![("Private-token", "z".to_owned())],
            ),
            (
                "sourcehut",
                "~o",
                None,
                "",
                "https://git.sr.ht/~o/r/info/refs",
                "https://git.sr.ht/~o/r/archive/REV.tar.gz",
                none,
            ),
        ] {
            let found = addresses(kind, owner, host, tokens);
            assert_eq!(found, (branch.to_owned(), archive.to_owned(), headers));
        }
    }

    #[test]
    fn what_forges_answer() {
        let github = format!("{{\"sha\":\"{REV}\"}}");
        let gitlab = format!("[{{\"id\":\"{REV}\"}}]");
        let refs = format!("{REV}\trefs/heads/x\n{}\trefs/tags/b\n", REV.replace('b', "c"));
        assert_eq!(revision_in_json("github", &github).as_deref(), Some(REV));
        assert_eq!(revision_in_json("gitlab", &gitlab).as_deref(), Some(REV));
        assert_eq!(revision_in_json("gitlab", "[]"), None);
        assert_eq!(revision_in_json("github", "{\"message\":\"Not Found\"}"), None);
        assert_eq!(revision_in_refs(&refs, "x").as_deref(), Some(REV));
        assert_eq!(revision_in_refs(&refs, "b"), Some(REV.replace('b', "c")));
        assert_eq!(revision_in_refs(&refs, "refs/heads/x").as_deref(), Some(REV));
        assert_eq!(revision_in_refs(&refs, "y"), None);
    }
}
