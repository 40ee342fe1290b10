//! The source's modules: no import cycle, and no import against the layers.
//!
//! A file depends on the files that its paths lead to. What a `mod.rs` re-exports counts as the file that defines it, and
//! tests inside a file count as nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens as _;
use syn::{Item, UseTree, Visibility};

/// From the bottom up: a file imports from its own layer and from those before it. What is in one list does not import
/// from each other.
const LAYERS: [&[&str]; 10] = [
    &["clock", "outbound", "shutdown", "vault"],
    &["telemetry"],
    &["domain"],
    &["aws", "oidc"],
    &["provision", "store"],
    &["config"],
    &["app"],
    &["api"],
    &["console"],
    &["background"],
];
/// What puts everything together may import from everywhere.
const ROOTS: [&str; 3] = ["cli", "lib", "main"];

/// A module's path below the crate, such as `store::jobs`.
type Module = String;

struct Source {
    items: Vec<Item>,
    has_children: bool,
}

/// Which module a path leads to, re-exports followed.
struct Names {
    modules: BTreeSet<Module>,
    reexports: BTreeMap<String, String>,
}

impl Names {
    fn target(&self, path: &str) -> Option<Module> {
        let mut path = path.to_owned();
        // A re-export may lead to another one.
        for _ in 0..8 {
            let Some((from, to)) =
                prefixes(&path).find_map(|prefix| self.reexports.get_key_value(prefix))
            else {
                break;
            };
            path = format!("{to}{}", &path[from.len()..]);
        }
        prefixes(&path)
            .find(|prefix| self.modules.contains(*prefix))
            .map(str::to_owned)
    }

    /// A path as it stands in a module, from the crate's root; `None` for other crates.
    fn absolute(&self, path: &[String], module: &str, has_children: bool) -> Option<String> {
        let mut place: Vec<&str> = module.split("::").collect();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => return Some(path[1..].join("::")),
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    place.pop();
                    rest = &rest[1..];
                }
            }
            child if has_children && self.modules.contains(&format!("{module}::{child}")) => {}
            _ => return None,
        }
        place.extend(rest.iter().map(String::as_str));
        Some(place.join("::"))
    }
}

/// A path and those that it begins with, the longest first.
fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path
        .match_indices("::")
        .map(|(at, _)| at)
        .chain([path.len()]);
    ends.collect::<Vec<_>>()
        .into_iter()
        .rev()
        .map(|end| &path[..end])
}

fn sources(folder: &Path, prefix: &str, found: &mut BTreeMap<Module, Source>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let name = if prefix.is_empty() {
            stem.to_owned()
        } else {
            format!("{prefix}::{stem}")
        };
        if path.is_dir() {
            sources(&path, &name, found);
            continue;
        }
        // A failed snapshot leaves a file beside its source.
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let (module, has_children) = if stem == "mod" {
            (prefix.to_owned(), true)
        } else {
            (name, false)
        };
        let mut items = syn::parse_file(&std::fs::read_to_string(&path).unwrap())
            .unwrap()
            .items;
        items.retain(|item| !is_test(item));
        found.insert(
            module,
            Source {
                items,
                has_children,
            },
        );
    }
}

fn is_test(item: &Item) -> bool {
    let Item::Mod(module) = item else {
        return false;
    };
    module.attrs.iter().any(|attribute| {
        attribute
            .to_token_stream()
            .to_string()
            .contains("cfg (test)")
    })
}

/// The paths of a `use`, each as its parts.
fn leaves(tree: &UseTree, before: &[String], found: &mut Vec<Vec<String>>) {
    let with = |part: &syn::Ident| [before, &[part.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), found),
        UseTree::Name(name) if name.ident == "self" => found.push(before.to_vec()),
        UseTree::Name(name) => found.push(with(&name.ident)),
        UseTree::Rename(name) => found.push(with(&name.ident)),
        UseTree::Glob(_) => found.push(before.to_vec()),
        UseTree::Group(group) => group
            .items
            .iter()
            .for_each(|tree| leaves(tree, before, found)),
    }
}

/// Paths that begin at `crate`, `self` or `super`, anywhere in code.
fn paths(tokens: TokenStream, found: &mut Vec<Vec<String>>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let ident = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => Some(ident.to_string()),
        _ => None,
    };
    let colons = |at: usize| {
        (at..at + 2).all(
            |at| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':'),
        )
    };
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => paths(group.stream(), found),
            TokenTree::Ident(first)
                if ["crate", "self", "super"].iter().any(|root| first == root) =>
            {
                let (mut path, mut next) = (vec![first.to_string()], at + 1);
                while let (true, Some(part)) = (colons(next), ident(next + 2)) {
                    path.push(part);
                    next += 3;
                }
                if path.len() > 1 {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
}

fn names(sources: &BTreeMap<Module, Source>) -> Names {
    let modules: BTreeSet<Module> = sources.keys().cloned().collect();
    let mut names = Names {
        modules,
        reexports: BTreeMap::new(),
    };
    let mut reexports = BTreeMap::new();
    for (module, source) in sources {
        for item in &source.items {
            let Item::Use(item) = item else { continue };
            if matches!(item.vis, Visibility::Inherited) {
                continue;
            }
            let mut found = Vec::new();
            leaves(&item.tree, &[], &mut found);
            for path in found {
                if let Some(target) = names.absolute(&path, module, source.has_children) {
                    reexports.insert(format!("{module}::{}", path.last().unwrap()), target);
                }
            }
        }
    }
    names.reexports = reexports;
    names
}

/// What each module depends on.
fn graph() -> BTreeMap<Module, BTreeSet<Module>> {
    let mut all = BTreeMap::new();
    sources(
        &PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"),
        "",
        &mut all,
    );
    let names = names(&all);
    all.iter()
        .map(|(module, source)| {
            let mut found = Vec::new();
            for item in &source.items {
                match item {
                    Item::Use(item)
                        if source.has_children && !matches!(item.vis, Visibility::Inherited) => {}
                    Item::Use(item) => leaves(&item.tree, &[], &mut found),
                    item => paths(item.to_token_stream(), &mut found),
                }
            }
            let targets = found.iter().filter_map(|path| {
                names
                    .absolute(path, module, source.has_children)
                    .and_then(|path| names.target(&path))
            });
            (
                module.clone(),
                targets.filter(|target| target != module).collect(),
            )
        })
        .collect()
}

/// What a module reaches by one step or more.
fn reached<'a>(graph: &'a BTreeMap<Module, BTreeSet<Module>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        open.extend(
            graph[module]
                .iter()
                .map(String::as_str)
                .filter(|next| seen.insert(*next)),
        );
    }
    seen
}

fn layer(module: &str) -> Option<usize> {
    let top = module.split("::").next().unwrap();
    if ROOTS.contains(&top) {
        return None;
    }
    let found = LAYERS.iter().position(|layer| layer.contains(&top));
    Some(found.unwrap_or_else(|| panic!("{module} is in no layer: name it in LAYERS")))
}

#[test]
fn no_module_imports_itself_by_way_of_others() {
    let graph = graph();
    assert!(
        graph.values().map(BTreeSet::len).sum::<usize>() > 300,
        "the imports are read: {graph:?}"
    );
    let in_cycles: Vec<_> = graph
        .keys()
        .filter(|module| reached(&graph, module).contains(module.as_str()))
        .collect();
    assert!(
        in_cycles.is_empty(),
        "these import each other in a circle: {in_cycles:#?}"
    );
}

#[test]
fn imports_lead_down_the_layers() {
    let graph = graph();
    let mut wrong = Vec::new();
    for (module, target) in graph
        .iter()
        .flat_map(|(module, targets)| targets.iter().map(move |target| (module, target)))
    {
        let top = |module: &str| module.split("::").next().unwrap().to_owned();
        let (Some(from), to) = (layer(module), layer(target)) else {
            continue;
        };
        if top(module) != top(target) && to.is_none_or(|to| to >= from) {
            wrong.push(format!("{module} imports {target}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let mut found = Vec::new();
    let code = r#"fn f() { let a = crate::store::Store::open("crate::not::this"); g(super::b::<crate::c::D>()); } // crate::nor::this"#;
    paths(code.parse().unwrap(), &mut found);
    let found: Vec<String> = found.iter().map(|path| path.join("::")).collect();
    assert_eq!(
        found,
        ["crate::store::Store::open", "super::b", "crate::c::D"]
    );
}
