//! Requests that add to the store: files, archives, logs, signatures, realisations.

use super::super::connection::Trust;
use super::super::wire::{Framed, read_bool, read_number, read_text, read_texts};
use super::{Reply, Session, fatal};
use crate::error::{Error, Result};
use crate::realisation::Realisation;
use formats::content_address::Method;
use formats::hash::{Algorithm, Hash};
use formats::path_info::PathInfo;
use formats::store_path::StorePath;
use std::collections::BTreeSet;
use std::io::Read;

impl Session<'_> {
    pub(super) fn add_to_store(&self, input: &mut dyn Read) -> Reply {
        let name = read_text(input).map_err(fatal)?;
        let method = read_text(input).map_err(fatal)?;
        let references = read_texts(input).map_err(fatal)?;
        let _repair = read_bool(input).map_err(fatal)?;
        let mut framed = Framed::new(input);
        let added = (|| {
            let references: BTreeSet<StorePath> =
                references.iter().map(|text| self.parse(text)).collect::<Result<_>>()?;
            let (method, algorithm) = match method.strip_prefix("fixed:") {
                Some(rest) => Method::split(rest),
                None => Method::split(&method),
            };
            let algorithm = algorithm
                .parse()
                .map_err(|error| Error::Invalid(format!("the client sent `{method:?}`: {error}")))?;
            if let Some(unseen) = references.iter().find(|reference| !self.sees(reference)) {
                return Err(Error::NotValid(self.store.dir().print(unseen)));
            }
            let path = self.store.add_stream(&name, method, algorithm, &references, &mut framed)?;
            self.admit(&path)?;
            self.store.path_info(&path)
        })();
        framed.drain().map_err(fatal)?;
        self.answer(added, |answer, info| {
            answer.text(&self.store.dir().print(&info.path));
            self.path_info(answer, &info);
        })
    }

    /// Refuses what an untrusted client may not bring.
    pub(super) fn check_trust(&self, info: &mut PathInfo) -> Result<()> {
        if self.trust == Trust::Trusted {
            return Ok(());
        }
        info.ultimate = false;
        self.store.check_signatures(info)
    }

    pub(super) fn add_nar(&self, input: &mut dyn Read) -> Reply {
        let info = self.read_path_info(input).map_err(fatal)?;
        let _repair = read_bool(input).map_err(fatal)?;
        let _unsigned = read_bool(input).map_err(fatal)?;
        let mut framed = Framed::new(input);
        let mut info = info;
        let added = self
            .check_trust(&mut info)
            .and_then(|()| self.store.add_nar(&info, &mut framed))
            .and_then(|()| self.admit(&info.path));
        framed.drain().map_err(fatal)?;
        self.answer(added, |_, ()| {})
    }

    pub(super) fn add_multiple(&self, input: &mut dyn Read) -> Reply {
        let _repair = read_bool(input).map_err(fatal)?;
        let _unsigned = read_bool(input).map_err(fatal)?;
        let mut framed = Framed::new(input);
        let added = (|| {
            for _ in 0..read_number(&mut framed)? {
                let mut info = self.read_path_info(&mut framed)?;
                self.check_trust(&mut info)?;
                if self.store.is_valid(&info.path)? {
                    // Its NAR must be read past.
                    formats::nar::read(&mut framed, &mut crate::tree::Nothing)
                        .map_err(Error::nar(info.path.base_name()))?;
                } else {
                    self.store.add_nar(&info, &mut framed)?;
                }
                self.admit(&info.path)?;
            }
            Ok(())
        })();
        framed.drain().map_err(fatal)?;
        self.answer(added, |_, ()| {})
    }

    pub(super) fn add_build_log(&self, input: &mut dyn Read) -> Reply {
        let path = read_text(input).map_err(fatal)?;
        let mut framed = Framed::new(input);
        let added = if self.trust == Trust::Trusted {
            self.parse(&path).and_then(|path| self.store.add_build_log(&path, &mut framed))
        } else {
            Err(Error::Invalid("you are not allowed to add logs".to_owned()))
        };
        framed.drain().map_err(fatal)?;
        self.answer(added, |answer, ()| {
            answer.number(1);
        })
    }

    pub(super) fn add_signatures(&self, input: &mut dyn Read) -> Reply {
        let path = read_text(input).map_err(fatal)?;
        let signatures = read_texts(input).map_err(fatal)?;
        let added = if self.trust == Trust::Trusted {
            self.parse(&path).and_then(|path| self.store.add_signatures(&path, signatures))
        } else {
            Err(Error::Invalid("you are not allowed to add signatures".to_owned()))
        };
        self.answer(added, |answer, ()| {
            answer.number(1);
        })
    }

    pub(super) fn register_realisation(&self, input: &mut dyn Read) -> Reply {
        let registered = if self.version >= 31 {
            let text = read_text(input).map_err(fatal)?;
            Realisation::from_json(&text)
        } else {
            let id = read_text(input).map_err(fatal)?;
            let path = read_text(input).map_err(fatal)?;
            self.parse(&path).map(|path| Realisation::new(id, path))
        }
        .and_then(|realisation| {
            if self.trust != Trust::Trusted {
                return Err(Error::Invalid(format!(
                    "cannot register realisation `{}` because it lacks a signature by a trusted key",
                    realisation.id
                )));
            }
            self.store.register_realisation(&realisation)
        });
        self.answer(registered, |_, ()| {})
    }

    pub(super) fn query_realisation(&self, input: &mut dyn Read) -> Reply {
        let id = read_text(input).map_err(fatal)?;
        let found = self.store.realisation(&id);
        self.answer(found, |answer, found| {
            let found: Vec<Realisation> = found.into_iter().collect();
            if self.version >= 31 {
                answer.texts(found.iter().map(|realisation| realisation.to_json().to_string()));
            } else {
                answer.texts(found.iter().map(|realisation| self.store.dir().print(&realisation.path)));
            }
        })
    }

    pub(super) fn read_path_info(&self, input: &mut dyn Read) -> Result<PathInfo> {
        let path = self.parse(&read_text(input)?)?;
        let deriver = read_text(input)?;
        let hash = read_text(input)?;
        let nar_hash = Hash::parse_as(&hash, Algorithm::Sha256)
            .map_err(|error| Error::Invalid(format!("the client sent a bad hash: {error}")))?;
        let mut info = PathInfo::new(path, nar_hash, 0);
        info.deriver = if deriver.is_empty() { None } else { Some(self.parse(&deriver)?) };
        for reference in read_texts(input)? {
            info.references.insert(self.parse(&reference)?);
        }
        info.registration_time = read_number(input)? as i64;
        info.nar_size = read_number(input)?;
        info.ultimate = read_bool(input)?;
        info.signatures = read_texts(input)?.into_iter().collect();
        let address = read_text(input)?;
        if !address.is_empty() {
            let parsed =
                address.parse().map_err(|error| Error::Invalid(format!("the client sent: {error}")))?;
            info.content_address = Some(parsed);
        }
        Ok(info)
    }
}
