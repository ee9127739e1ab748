//! `service-graph`: the units of a configuration, checked and compiled to the one file that PID 1's supervisor maps.

use crate::derivation::Derivation;
use anyhow::{Context as _, Result};
use units::definition::GraphInput;

/// Compiles `units` and the unit files of `packages`; every fault found is reported, each on a line.
pub fn run(derivation: &Derivation) -> Result<()> {
    let input: GraphInput = derivation.attributes()?;
    let graph = units::compile::compile(&input)?;
    let out = derivation.out()?;
    std::fs::write(out, graph).with_context(|| format!("cannot write {}", out.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::service_graph::view::Graph;

    #[test]
    fn a_graph_is_written_and_a_fault_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let out = directory.path().join("graph");
        let compile = |directive: &str| {
            let json = format!(
                r#"{{"name":"services.graph","outputs":{{"out":{out:?}}},"storePathsChecked":true,"users":[],"groups":[],"packages":[],
                    "units":{{"a.service":{{"sections":{{"Service":{{"{directive}":["/bin/a"]}}}},"definedAt":"c.nix:1","x":{{}}}}}}}}"#
            );
            run(&Derivation::from_json(&json).expect("valid"))
        };
        compile("ExecStart").expect("compiled");
        assert!(
            Graph::load(&std::fs::read(&out).expect("read")).expect("a graph").find("a.service").is_some()
        );
        let message = compile("ExecStrat").expect_err("misspelt").to_string();
        assert!(message.contains("did you mean ExecStart?") && message.contains("c.nix:1"), "{message}");
    }
}
