//! rankio's entry: parse, plan, run, report, exit code.

use clap::Parser;
use rankio::cli::{Cli, Command};
use rankio::commands;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return commands::usage(&error),
    };
    match cli.command {
        Command::Plan(args) => commands::plan(&args),
        Command::Datagen(args) => commands::datagen(&args),
        Command::Run(args) => commands::run(&args),
        Command::Doctor(args) => commands::doctor(&args),
        Command::Clean(args) => commands::clean(&args),
        Command::Completions(args) => commands::completions(&args),
    }
}
