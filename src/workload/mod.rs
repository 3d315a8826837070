//! What a run does: datagen, training and evaluation, over any store.

pub mod calibrate;
mod capacity;
pub mod checkpoint;
mod claim;
pub mod clean;
pub mod compute;
mod crew;
pub mod datagen;
pub mod dataset;
pub mod devices;
pub mod doctor;
mod file_writer;
mod foreign_files;
mod listing;
mod loop_metrics;
mod open_files;
mod page_cache;
mod partials;
pub mod phase;
mod place;
mod read_thread;
pub mod readback;
pub mod reader;
mod results;
mod run;
mod run_folder;
mod series;
pub mod session;
mod small;
mod ticker;
mod train_phase;
mod training;
mod write_thread;

pub use capacity::{Search, find};
pub use run::{Finished, Request, execute, memory_shortage};
pub use series::repeat;
