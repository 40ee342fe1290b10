//! The environment variables in which an app finds its resources.

use crate::domain::spec::AppSpec;
use crate::provision::change::Want;
use crate::provision::conventions::Conventions;
use crate::provision::kinds::graph;
use crate::provision::render::dotenv::Variables;

/// The variables of each kind that the spec includes, with the values of its resources.
pub fn environment(spec: &AppSpec, conventions: &Conventions) -> Vec<(Variables, Vec<String>)> {
    let mut kinds: Vec<(Variables, Vec<String>)> = Vec::new();
    let nodes = graph(spec, conventions, Want::Present);
    for (variables, value) in nodes.iter().filter_map(|node| node.variable(conventions)) {
        match kinds.iter_mut().find(|(known, _)| *known == variables) {
            Some((_, values)) => values.push(value),
            None => kinds.push((variables, vec![value])),
        }
    }
    kinds
}
