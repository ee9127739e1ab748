//! The boot menu of a disk that does not exist yet: the same plan as on a machine, over an empty partition. The image
//! writer puts the files on the EFI system partition and the token into the root file system, so that the machine later finds
//! its own entries again.

use crate::generations::{Generation, Generations};
use crate::menu_update::TOKEN_FILE;
use crate::partition::Partition;
use crate::plan::{self, PlanError, PlannedFile, Request, token_of};
use formats::bootloader::Bootloader;
use std::path::Path;

/// What a new disk gets.
#[derive(Debug, Clone)]
pub struct ImageMenu {
    /// The EFI system partition's files, in the order of writing.
    pub files: Vec<PlannedFile>,
    /// The default generation's settings: whether GRUB for a BIOS is wanted, and its parts.
    pub loader: Bootloader,
    /// A file of the root file system: absolute path and text.
    pub token_file: (String, String),
}

/// Plans the menu for these generations (number and toplevel) of a store below `root`; the last is the default. The same
/// generations give the same bytes.
///
/// # Errors
/// When a generation cannot boot: an image is not made of broken ones.
pub fn plan(root: &Path, generations: &[(u64, &Path)]) -> Result<ImageMenu, PlanError> {
    let mut read = Generations::default();
    for (number, toplevel) in generations {
        let generation = Generation::of_toplevel(root, *number, toplevel, None)
            .map_err(|reason| PlanError::DefaultBroken { number: *number, reason })?;
        read.good.push(generation);
    }
    read.good.sort_by_key(|generation| generation.number);
    let Some(default) = read.good.last() else {
        return Err(PlanError::NoGeneration { reasons: Vec::new() });
    };
    let number = default.number;
    let loader = default.bootloader(root).map_err(|reason| PlanError::DefaultBroken { number, reason })?;
    let token = token_of(default.toplevel.as_os_str().as_encoded_bytes());
    let request = Request {
        root,
        generations: &read,
        default: number,
        loader: &loader,
        token: &token,
        // What an image boots is its first state: there is nothing to fall back to, so nothing is counted.
        booted: Some(&default.toplevel),
        space: None,
        // An image holds no secrets: the machine makes its keys, and its first `firn bootmenu` signs.
        signing: None,
    };
    let plan = plan::plan(&request, &Partition::empty())?;
    Ok(ImageMenu {
        files: plan.files,
        loader: loader.clone(),
        token_file: (TOKEN_FILE.to_owned(), format!("{token}\n")),
    })
}
