//! What the launcher says about this process, and whether MPI agrees.
//!
//! A launcher of another MPI than the one rankio is built with starts N processes that do not know
//! each other. Each would be a run of one rank, and each would end well. So what the launcher says
//! it started is compared with what MPI says there is.

/// A launcher, by the variables that it gives to each process it starts.
struct Launcher {
    /// As users know it.
    name: &'static str,
    /// How many processes it started.
    size: &'static str,
    /// Which of them this one is.
    rank: &'static str,
    /// What the names of the MPI libraries begin with whose own launcher it is.
    libraries: &'static [&'static str],
}

/// The inner before the outer: an allocation of Slurm holds the launchers of MPI.
const LAUNCHERS: [Launcher; 4] = [
    Launcher {
        name: "mpirun of Open MPI",
        size: "OMPI_COMM_WORLD_SIZE",
        rank: "OMPI_COMM_WORLD_RANK",
        libraries: &["Open MPI"],
    },
    Launcher {
        name: "mpirun_rsh of MVAPICH",
        size: "MV2_COMM_WORLD_SIZE",
        rank: "MV2_COMM_WORLD_RANK",
        libraries: &["MVAPICH"],
    },
    // Hydra (MPICH, Intel MPI, MVAPICH), PALS, and srun with its type pmi2.
    Launcher {
        name: "mpiexec or srun",
        size: "PMI_SIZE",
        rank: "PMI_RANK",
        libraries: &["MPICH", "CRAY MPICH", "Intel", "MVAPICH"],
    },
    // Both are there in the steps of srun only: the shells of sbatch and salloc have SLURM_NTASKS,
    // which says what srun would start.
    Launcher { name: "srun", size: "SLURM_STEP_NUM_TASKS", rank: "SLURM_PROCID", libraries: &[] },
];

/// Launchers that tell the rank, but not how many there are.
const RANKS_ALONE: [&str; 2] = ["PMIX_RANK", "PALS_RANKID"];

/// A process that is alone although its launcher started more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stray {
    /// What is wrong and what to do.
    pub message: String,
    /// True on the one process that has to say so.
    pub speaks: bool,
}

/// Where the launcher says this process stands, without starting MPI: for commands that need no
/// other rank, so that `mpirun -n 8 rankio plan` prints once.
pub fn launcher_rank() -> u64 {
    let names = LAUNCHERS[..3].iter().map(|launcher| launcher.rank).chain(RANKS_ALONE);
    let mut ranks = names.chain(["SLURM_PROCID"]).filter_map(|name| number(&variable, name));
    ranks.next().unwrap_or(0)
}

/// A variable of this process.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What tells of launchers, as it was before MPI started: MPI may set such variables itself.
pub(super) struct Started {
    /// Launchers that said something: place in [`LAUNCHERS`], processes, rank.
    said: Vec<(usize, u64, u64)>,
    /// A rank above 0 with no word of how many there are.
    rank_alone: Option<(&'static str, u64)>,
    /// Standard input is a terminal. No launcher gives one to what it starts, so somebody typed the
    /// command into a shell that may have such variables from further up.
    typed: bool,
}

impl Started {
    /// Of the variables as `variable` has them.
    pub fn of(variable: &dyn Fn(&str) -> Option<String>, typed: bool) -> Started {
        let said = LAUNCHERS.iter().enumerate().filter_map(|(place, launcher)| {
            let size = number(variable, launcher.size)?;
            Some((place, size, number(variable, launcher.rank)?))
        });
        let mut alone = RANKS_ALONE.iter().map(|name| (*name, number(variable, name)));
        let rank_alone = alone.find_map(|(name, rank)| Some((name, rank.filter(|r| *r > 0)?)));
        Started { said: said.collect(), rank_alone, typed }
    }

    /// Why this process must not go on in a world of `size` ranks of `library` (`none` without
    /// MPI); None if it may.
    ///
    /// Only a world of one rank can be wrong: more ranks have found each other. The launcher of the
    /// library decides where it said something, else the innermost.
    pub fn stray(&self, size: u64, library: &str) -> Option<Stray> {
        if size != 1 || self.typed {
            return None;
        }
        let own = |(place, ..): &&(usize, u64, u64)| {
            LAUNCHERS[*place].libraries.iter().any(|name| library.starts_with(name))
        };
        let decides = self.said.iter().find(own).or(self.said.first());
        match (decides, self.rank_alone) {
            (Some((place, processes, rank)), _) => (*processes > 1).then(|| {
                let Launcher { name, size, .. } = &LAUNCHERS[*place];
                let started = format!("{name} started {processes} processes ({size})");
                Stray { message: told(&started, size, library), speaks: *rank == 0 }
            }),
            (None, Some((name, rank))) => {
                let started = format!("a launcher made this process number {rank} ({name})");
                Some(Stray { message: told(&started, name, library), speaks: rank == 1 })
            }
            (None, None) => None,
        }
    }
}

/// The whole message.
fn told(started: &str, variable: &str, library: &str) -> String {
    let (why, remedy) = match (library, variable) {
        ("none", _) => (
            "this rankio is built without MPI".to_string(),
            "use a build with the feature mpi, or start one process",
        ),
        (_, "SLURM_STEP_NUM_TASKS") => (
            format!("{library} finds no other rank"),
            "give srun the --mpi type of this MPI (srun --mpi=list; Open MPI: pmix, MPICH: pmi2)",
        ),
        _ => (
            format!("{library} finds no other rank"),
            "start rankio with the mpirun of the MPI it is built with",
        ),
    };
    format!(
        "{started}, but {why}, so each would be a run of its own; {remedy}; if such runs are \
         wanted: env -u {variable} rankio ..."
    )
}

fn number(variable: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<u64> {
    variable(name)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: &str = "Open MPI v4.1.6";
    const MPICH: &str = "MPICH 4.2.0";

    fn stray(variables: &[(&str, &str)], typed: bool, size: u64, library: &str) -> Option<Stray> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        };
        Started::of(&variable, typed).stray(size, library)
    }

    const OMPI_4: [(&str, &str); 3] =
        [("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "0"), ("PMIX_RANK", "0")];
    const OMPI_1: [(&str, &str); 3] =
        [("OMPI_COMM_WORLD_SIZE", "1"), ("OMPI_COMM_WORLD_RANK", "0"), ("PMIX_RANK", "0")];
    const HYDRA_4: [(&str, &str); 2] = [("PMI_SIZE", "4"), ("PMI_RANK", "0")];
    const HYDRA_1: [(&str, &str); 2] = [("PMI_SIZE", "1"), ("PMI_RANK", "0")];
    const STEP_4: [(&str, &str); 4] = [
        ("SLURM_NTASKS", "4"),
        ("SLURM_PROCID", "0"),
        ("SLURM_STEP_ID", "0"),
        ("SLURM_STEP_NUM_TASKS", "4"),
    ];
    /// The shell of sbatch.
    const BATCH_4: [(&str, &str); 3] =
        [("SLURM_NTASKS", "4"), ("SLURM_PROCID", "0"), ("SLURM_TASK_PID", "77")];

    /// Bug: N runs of one rank, all VALID with exit 0.
    #[test]
    fn a_wrong_launcher_is_refused_and_the_right_one_is_not() {
        // Variables of the process, typed into a terminal, MPI's size, library, refused.
        type Case<'a> = (&'a [(&'a str, &'a str)], bool, u64, &'a str, bool);
        let both = |a: &[(&'static str, &'static str)], b: &[(&'static str, &'static str)]| {
            [a, b].concat()
        };
        let in_step = both(&OMPI_1, &STEP_4);
        let agent = both(&OMPI_4, &[("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_PROCID", "1")]);
        let below_mpirun = both(&OMPI_1, &HYDRA_4);
        let below_hydra = both(&OMPI_4, &HYDRA_1);
        let cases: [Case<'_>; 24] = [
            // Plain starts: a shell, the shells of sbatch and salloc.
            (&[], false, 1, OPEN, false),
            (&BATCH_4, false, 1, OPEN, false),
            (&[("SLURM_NTASKS", "4")], false, 1, MPICH, false),
            (&BATCH_4, false, 1, "none", false),
            // Right launchers.
            (&OMPI_4, false, 4, OPEN, false),
            (&OMPI_1, false, 1, OPEN, false),
            (&HYDRA_4, false, 4, MPICH, false),
            (&STEP_4, false, 4, OPEN, false),
            // mpirun in an allocation, its agents started by srun.
            (&agent, false, 4, OPEN, false),
            // mpirun with one rank in a step of four tasks.
            (&in_step, false, 1, OPEN, false),
            // Typed into a shell that a launcher started.
            (&STEP_4, true, 1, OPEN, false),
            (&OMPI_4, true, 1, "none", false),
            // Each MPI has its launcher, whatever is further up.
            (&below_hydra, false, 4, OPEN, false),
            (&below_mpirun, false, 4, MPICH, false),
            (&below_mpirun, false, 1, OPEN, false),
            (&below_mpirun, false, 1, MPICH, true),
            (&below_hydra, false, 1, MPICH, false),
            // Wrong launchers.
            (&HYDRA_4, false, 1, OPEN, true),
            (&OMPI_4, false, 1, MPICH, true),
            (&OMPI_4, false, 1, "none", true),
            (&HYDRA_4, false, 1, "none", true),
            (&STEP_4, false, 1, MPICH, true),
            (&[("PMIX_RANK", "1")], false, 1, MPICH, true),
            (&[("MV2_COMM_WORLD_SIZE", "4"), ("MV2_COMM_WORLD_RANK", "2")], false, 1, OPEN, true),
        ];
        for (variables, typed, size, library, refused) in cases {
            let found = stray(variables, typed, size, library);
            assert_eq!(found.is_some(), refused, "{variables:?} {typed} {size} {library}");
        }
    }

    #[test]
    fn one_process_says_what_to_do() {
        let first = stray(&STEP_4, false, 1, MPICH).unwrap();
        assert!(first.speaks && first.message.contains("srun started 4 processes"), "{first:?}");
        assert!(first.message.contains("pmi2") && first.message.contains("MPICH 4.2.0"));
        let other = stray(&[("PMI_SIZE", "4"), ("PMI_RANK", "3")], false, 1, OPEN).unwrap();
        assert!(!other.speaks && other.message.contains("env -u PMI_SIZE"), "{other:?}");
        let bare = stray(&OMPI_4, false, 1, "none").unwrap();
        assert!(bare.message.contains("without MPI"), "{bare:?}");
        // Nobody else can: number 0 does not know that there are others.
        assert!(stray(&[("PMIX_RANK", "1")], false, 1, MPICH).unwrap().speaks);
    }
}
