//! The end of loading: what is known about the model, and its weights, become a model.

use crate::backend::Backend;
use crate::error::Result;
use crate::model::embedder::Embedder;
use crate::model::families::config::Config;
use crate::model::info::{Info, Prompts};
use crate::model::load::checkpoint::Finished;
use crate::model::load::files::{Files, MODEL_SETTINGS};
use crate::model::load::options::LoadOptions;
use crate::model::load::plan::Plan;
use crate::model::load::static_files;
use crate::model::loaded::Model;
use crate::model::transformer::heads::SparseHead;
use crate::model::transformer::layout::MatrixId;
use crate::model::transformer::route::{Body, Route};

/// The similarity functions of sentence-transformers. A model that names another one has the usual
/// one of its kind.
const SIMILARITIES: [&str; 4] = ["cosine", "dot", "euclidean", "manhattan"];

/// The model of a plan whose weights have all been read.
pub fn embedder<B: Backend>(
    backend: B,
    options: LoadOptions,
    files: Files,
    mut plan: Plan<B>,
) -> Result<Embedder<B>> {
    let parameters = plan.checkpoint.parameters();
    let Finished {
        mut weights,
        tables,
        tied,
        fingerprint,
        merged,
        stored,
        left_out,
        mut origin,
    } = plan.checkpoint.finish(&backend)?;
    plan.left_out.extend(left_out);
    tie_decoders(&mut plan.routes, &tied);
    for route in &mut plan.routes {
        if static_files::finish(route, &tables, plan.has_modules)? {
            plan.pipeline += " as model2vec";
        }
    }
    weights.tables = tables.into_iter().map(|finished| finished.table).collect();
    // sentence-transformers reads its settings only for models with modules.json; the caller may
    // have stated some.
    let has_settings = plan.has_modules || files.is_replaced(MODEL_SETTINGS);
    let settings = match files.config(MODEL_SETTINGS)? {
        Some(config) if has_settings => Settings::read(&config)?,
        _ => Settings::default(),
    };
    let default = &plan.routes[plan.default_route];
    let similarity = match (default.late(), settings.similarity) {
        (Some(late), _) => late.measure.name().to_owned(),
        (None, Some(similarity)) => similarity,
        (None, None) if default.dense().is_some() => "cosine".to_owned(),
        (None, None) => "dot".to_owned(),
    };
    let info = Info {
        model: options.model,
        revision: options.revision,
        family: plan.family,
        max_tokens: default.max_tokens,
        dtype: match &default.body {
            Body::Static(embedding) => weights.tables[embedding.table].dtype(),
            _ => plan.dtype,
        },
        stored,
        files: plan.streamed.into_iter().map(|(_, path)| path).collect(),
        parameters,
        instruction_template: settings.prompts.instruction_template(plan.instruction),
        prompts: settings.prompts,
        similarity,
        truncate_dim: settings.truncate_dim,
        max_active_dims: settings.max_active_dims,
        kind: plan
            .kind
            .filter(|_| plan.insists || !plan.left_out.is_empty()),
        left_out: plan.left_out,
        assumed: plan.assumed,
        overridden: plan.overridden,
        pipeline: plan.pipeline,
        lora: plan.lora,
        fingerprint: plan.fingerprint.unwrap_or(fingerprint).wrapping_add(merged),
        text: plan.text,
    };
    if options.saveable {
        (origin.files, origin.replaced) = files.into_present();
    }
    Ok(Embedder::new(Model {
        backend,
        weights,
        routes: plan.routes,
        default_route: plan.default_route,
        info,
        origin,
    }))
}

/// What `config_sentence_transformers.json` says.
#[derive(Default)]
struct Settings {
    prompts: Prompts,
    similarity: Option<String>,
    truncate_dim: Option<usize>,
    max_active_dims: Option<usize>,
}

impl Settings {
    fn read(config: &Config) -> Result<Self> {
        let prompts = Prompts::read(config)?;
        let similarity = config
            .get("similarity_fn_name")
            .and_then(|name| name.as_str());
        let similarity = similarity.filter(|name| SIMILARITIES.contains(name));
        let size = |field: &str| {
            let value = config.get(field);
            value.map(|_| config.size(field, usize::MAX)).transpose()
        };
        Ok(Self {
            prompts,
            similarity: similarity.map(str::to_owned),
            truncate_dim: size("truncate_dim")?,
            max_active_dims: size("max_active_dims")?,
        })
    }
}

/// Has heads for masked language modelling use the matrix that their decoder is tied to.
fn tie_decoders(routes: &mut [Route], tied: &[(MatrixId, MatrixId)]) {
    for route in routes {
        if let Body::Transformer(transformer) = &mut route.body
            && let Some(SparseHead::Splade { mlm, .. }) = &mut transformer.sparse
            && let Some((_, other)) = tied
                .iter()
                .find(|(matrix, _)| *matrix == mlm.decoder.weight)
        {
            mlm.decoder.weight = *other;
        }
    }
}
