//! `restante man` and `restante completions`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap_complete::Shell;

use super::output::print;

#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The folder for restante.1 and a page for each command; it is made if it is missing.
    folder: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell that is to know the commands.
    shell: Shell,
}

pub(super) fn pages(cli: clap::Command, Man { folder }: &Man) -> anyhow::Result<ExitCode> {
    write_pages(cli, folder)
        .with_context(|| format!("the manual pages can't be written to {}", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(cli: clap::Command, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(cli, folder)
}

pub(super) fn completions(
    mut cli: clap::Command,
    Completions { shell }: &Completions,
) -> anyhow::Result<ExitCode> {
    // The script is buffered, since the generator panics when its reader is gone.
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut cli, "restante", &mut script);
    print(String::from_utf8(script)?.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
