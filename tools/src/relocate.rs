//! Makes an unpacked package live in its store path: nothing in it reads `/usr`, `/lib` or `/bin` any more.
//!
//! Each concern is a module: programs and libraries ([`elf_facts`], [`elf_rewrite`], [`libraries`]), scripts ([`shebang`],
//! [`text_paths`]), links ([`links`]). What cannot be changed, paths within binaries, is reported ([`strings`]).

pub mod elf_facts;
pub mod elf_rewrite;
pub mod libraries;
pub mod links;
pub mod programs;
pub mod shebang;
pub mod strings;
pub mod text_paths;

use crate::unpack::{Kind, Tree};
use elf_facts::{ElfError, ElfFacts};
use elf_rewrite::Wanted;
use libraries::Libraries;
use programs::Programs;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Why a package could not be made to live in the store.
#[derive(Debug, thiserror::Error)]
pub enum RelocateError {
    /// A file of the package could not be read or written.
    #[error("cannot relocate {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A dependency could not be listed.
    #[error(transparent)]
    Dependency(io::Error),
    /// An ELF file is damaged or of a shape that cannot be changed.
    #[error("cannot relocate {path}: {source}")]
    Elf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ElfError,
    },
    /// A library is in no dependency.
    #[error(
        "{path} needs the library {soname}, which neither the package nor any of its {dependencies} dependencies has; \
         add the package that has it, or list it in `optionalLibraries`"
    )]
    LibraryMissing {
        /// The file that needs it.
        path: PathBuf,
        /// The library.
        soname: String,
        /// How many packages were looked through.
        dependencies: usize,
    },
    /// No dependency has the dynamic loader.
    #[error("{path} is a program for {interpreter}, which no dependency has; libc6 is missing among them")]
    LoaderMissing {
        /// The program.
        path: PathBuf,
        /// Its interpreter in Debian's tree.
        interpreter: String,
    },
}

/// What a package may use.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The store paths of all its dependencies, nearest first.
    pub dependencies: Vec<PathBuf>,
    /// Packages of which scripts may use the interpreter.
    pub interpreters: Vec<PathBuf>,
    /// Libraries that may be missing.
    pub optional_libraries: BTreeSet<String>,
}

/// Relocates all files and links of a tree. Files are rewritten at once, links when they are made. Returns what the
/// build's log should say.
pub fn relocate(tree: &mut Tree, surroundings: &Surroundings) -> Result<Vec<String>, RelocateError> {
    let mut notes = links::relocate(tree, &surroundings.dependencies);
    let programs =
        Programs { tree, dependencies: &surroundings.dependencies, interpreters: &surroundings.interpreters };
    let libraries = Libraries::new(tree, &surroundings.dependencies).map_err(RelocateError::Dependency)?;
    let mut hard_coded = BTreeSet::new();
    for (place, file) in &tree.files {
        let path = tree.root.join(place);
        let with_file = |source| RelocateError::File { path: path.clone(), source };
        if file.privileged {
            notes.push(format!(
                "{}: setuid or setgid in Debian; give it a wrapper (security.wrappers)",
                file.origin.display()
            ));
        }
        let is_configuration = text_paths::is_configuration(place);
        if file.kind == Kind::Other && !is_configuration {
            continue;
        }
        let original = std::fs::read(&path).map_err(with_file)?;
        let changed = if file.kind == Kind::Elf {
            let elf = ElfFile { path: &path, origin: &file.origin, bytes: &original };
            elf.relocate(&programs, &libraries, surroundings, &mut notes, &mut hard_coded)?
        } else {
            text_file(&file.origin, &original, &programs, &mut notes)
        };
        if let Some(changed) = changed {
            std::fs::write(&path, changed).map_err(with_file)?;
        }
    }
    notes.extend(hard_coded);
    Ok(notes)
}

/// An ELF file of the package.
struct ElfFile<'a> {
    path: &'a Path,
    origin: &'a Path,
    bytes: &'a [u8],
}

impl ElfFile<'_> {
    fn relocate(
        &self,
        programs: &Programs,
        libraries: &Libraries,
        surroundings: &Surroundings,
        notes: &mut Vec<String>,
        hard_coded: &mut BTreeSet<String>,
    ) -> Result<Option<Vec<u8>>, RelocateError> {
        let with_file = |source| RelocateError::Elf { path: self.path.to_path_buf(), source };
        let Some(facts) = ElfFacts::read(self.bytes).map_err(with_file)? else { return Ok(None) };
        if facts.soname.as_deref().is_some_and(|soname| soname.starts_with("ld-linux")) {
            // The loader itself: it needs nothing and is found by its path.
            return Ok(None);
        }
        let mut wanted = Wanted::default();
        if let Some(interpreter) = &facts.interpreter {
            let path = programs.path(Path::new(interpreter)).ok_or_else(|| RelocateError::LoaderMissing {
                path: self.path.to_path_buf(),
                interpreter: interpreter.clone(),
            })?;
            wanted.interpreter = Some(path.display().to_string());
        }
        for soname in &facts.needed {
            match libraries.directory_of(soname, &facts, self.origin) {
                Some(directory) => push_new(&mut wanted.run_path, &directory),
                None if surroundings.optional_libraries.contains(soname) => {
                    notes.push(format!(
                        "{}: {soname} is missing and said to be optional",
                        self.origin.display()
                    ));
                }
                None => {
                    return Err(RelocateError::LibraryMissing {
                        path: self.path.to_path_buf(),
                        soname: soname.clone(),
                        dependencies: surroundings.dependencies.len(),
                    });
                }
            }
        }
        for text in strings::c_strings(self.bytes, facts.string_table.clone()) {
            if strings::is_soname(text) {
                // A library that is opened while the program runs: its directory counts, if a dependency has it.
                if let Some(directory) = libraries.in_standard(text) {
                    push_new(&mut wanted.run_path, &directory);
                }
            } else if strings::is_debian_path(text)
                && facts.interpreter.as_deref() != Some(text)
                && let Some(found) = programs.path(Path::new(text))
                && is_telling(&found)
            {
                hard_coded.insert(format!(
                    "{}: holds {text}, which is {}",
                    self.origin.display(),
                    found.display()
                ));
            }
        }
        if wanted.interpreter.is_none() && wanted.run_path.is_empty() && facts.search_path.is_empty() {
            return Ok(None);
        }
        elf_rewrite::rewrite(self.bytes, &wanted).map(Some).map_err(with_file)
    }
}

/// A script or a unit: its first line and its paths.
fn text_file(
    origin: &Path,
    original: &[u8],
    programs: &Programs,
    notes: &mut Vec<String>,
) -> Option<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(original) else {
        notes.push(format!("{}: not UTF-8, left as it is", origin.display()));
        return None;
    };
    let (first, rest) = text.split_at(text.find('\n').unwrap_or(text.len()));
    let mut changed = None;
    if first.starts_with("#!") {
        let store = programs.tree.root.parent().unwrap_or(Path::new("/"));
        match shebang::relocate(first, programs, store) {
            shebang::Shebang::Changed(line) => changed = Some(line),
            shebang::Shebang::Fine => {}
            shebang::Shebang::NotFound(name) => {
                notes.push(format!(
                    "{}: its interpreter {name} is in no dependency; left as it is",
                    origin.display()
                ));
            }
        }
    }
    let body = if first.starts_with("#!") { rest } else { text };
    let new_body = text_paths::relocate(body, programs);
    if changed.is_none() && new_body.is_none() {
        return None;
    }
    let mut result = match (first.starts_with("#!"), changed) {
        (true, Some(line)) => line,
        (true, None) => first.to_owned(),
        (false, _) => String::new(),
    };
    result.push_str(new_body.as_deref().unwrap_or(body));
    Some(result.into_bytes())
}

/// Adds a directory to a run path once.
fn push_new(run_path: &mut Vec<String>, directory: &Path) {
    let directory = directory.display().to_string();
    if !run_path.contains(&directory) {
        run_path.push(directory);
    }
}

/// Whether a path says something to whoever configures the program: directories that all packages share do not.
fn is_telling(path: &Path) -> bool {
    !["bin", "lib", "share", "libexec"].iter().any(|shared| path.ends_with(shared))
}
