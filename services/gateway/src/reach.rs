use forebay_api::{Caller, SubmitRequest};
use forebay_recipe::{Recipe, Step};

use crate::error::Failure;

/// Where jobs may read and write.
#[derive(Clone, Debug)]
pub enum Reach {
    /// Wherever this process may: it is the user's own.
    Anywhere,
    /// Clients are somewhere else, and this process' files are not theirs.
    Served {
        /// An output is a prefix below this place; that of a tenant below the tenant's own folder there.
        store: String,
        /// Inputs that the gateway may read itself are these URIs, or below them.
        inputs: Vec<String>,
    },
}

impl Reach {
    /// The request as this gateway takes it: outputs are absolute, inputs are allowed.
    pub(crate) fn check(&self, caller: &Caller, mut request: SubmitRequest) -> Result<SubmitRequest, Failure> {
        let Self::Served { store, inputs } = self else { return Ok(request) };
        for input in &request.inputs {
            if !inputs.iter().any(|prefix| is_below(input, prefix)) {
                return Err(Failure::unusable(format!(
                    "{input}: this gateway may not read that itself; send the file, or have its prefix added to the \
                     gateway's setting inputs"
                )));
            }
        }
        let prefix = request.output.trim_matches('/');
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with(['.', '_'])
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '='))
        };
        if prefix.is_empty() || !prefix.split('/').all(plain) {
            return Err(Failure::unusable(format!(
                "output '{}': write a prefix below the gateway's store, of letters, digits and -_.= between slashes, \
                 such as sales/2026",
                request.output
            )));
        }
        let store = store.trim_end_matches('/');
        request.output = match caller.tenant() {
            Caller::LOCAL => format!("{store}/{prefix}"),
            // What one tenant writes is out of another's reach.
            tenant => format!("{store}/{tenant}/{prefix}"),
        };
        Ok(request)
    }
}

impl Reach {
    /// Refuses a recipe whose look-ups or models would have our services ask or read what clients may not choose.
    pub(crate) fn check_sources(&self, recipe: &Recipe) -> Result<(), Failure> {
        let Self::Served { inputs, .. } = self else { return Ok(()) };
        for model in recipe.redact_steps().filter_map(|step| step.model.as_ref()) {
            if !inputs.iter().any(|prefix| is_below(&model.path, prefix)) {
                return Err(Failure::unusable(format!(
                    "model.path {}: the services may not read that for a client; have its prefix added to the \
                     gateway's setting inputs",
                    model.path
                )));
            }
        }
        for step in &recipe.steps {
            let Step::Enrich(step) = step else { continue };
            if let Some((key, source)) =
                step.sources().find(|(_, source)| !inputs.iter().any(|prefix| is_below(source, prefix)))
            {
                return Err(Failure::unusable(format!(
                    "{}.{key}={source}: the services may not ask or read that for a client; have its prefix added to \
                     the gateway's setting inputs",
                    step.name()
                )));
            }
        }
        Ok(())
    }
}

/// True if a URI is `folder` or something in it.
fn is_below(uri: &str, folder: &str) -> bool {
    let rest = uri.strip_prefix(folder.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) && !uri.split('/').any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use forebay_api::TenantLimits;

    use super::*;

    fn request(output: &str, inputs: &[&str]) -> SubmitRequest {
        SubmitRequest {
            key: None,
            recipe: forebay_api::RecipeSource::Shipped(String::new()),
            settings: BTreeMap::new(),
            format: "auto".to_owned(),
            output: output.to_owned(),
            inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
            streams: Vec::new(),
            max_rejects: None,
        }
    }

    fn served() -> Reach {
        Reach::Served { store: "s3://lake/store/".to_owned(), inputs: vec!["s3://landing/in".to_owned()] }
    }

    #[test]
    fn tenants_write_below_folders_of_their_own() {
        let output = |caller: &Caller, output: &str| served().check(caller, request(output, &[])).map(|r| r.output);
        let tenant = |name: &str| Caller::new(name, TenantLimits::NONE);
        assert_eq!(output(&Caller::local(), "a/b").unwrap(), "s3://lake/store/a/b");
        assert_eq!(output(&tenant("north"), "a/b").unwrap(), "s3://lake/store/north/a/b");
        assert_eq!(output(&tenant("south"), "/a/b/").unwrap(), "s3://lake/store/south/a/b");
        for bad in ["", "/", "../north/a", "a/../../north", "a//b", "_forebay", "a/.b", "a b", "s3://else/where"] {
            assert!(output(&tenant("south"), bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn look_ups_go_only_where_the_gateway_may() {
        let recipe = |settings: &str| {
            let text = format!(
                "name: r\nrecord: {{table: t, fields: {{npi: {{type: string}}}}}}\nsteps:\n  - enrich: {{table: t, \
                 enricher: nppes, key: npi, columns: [city], settings: {{{settings}}}}}\n"
            );
            Recipe::parse("r", &text).unwrap()
        };
        let inputs = vec!["https://api.example.org".to_owned(), "/data/reference".to_owned()];
        let served = Reach::Served { store: "s3://lake".to_owned(), inputs };
        for good in ["rate: 4", "url: 'https://api.example.org/v2'", "file: /data/reference/npi.store"] {
            served.check_sources(&recipe(good)).unwrap();
        }
        for bad in [
            "url: 'http://169.254.169.254/'",
            "url: 'https://api.example.org.evil.net/'",
            "file: /etc/passwd",
            "file: /data/reference/../secret",
            "weekly: '/data/reference/a, /etc/shadow'",
        ] {
            assert!(served.check_sources(&recipe(bad)).is_err(), "{bad}");
            Reach::Anywhere.check_sources(&recipe(bad)).unwrap();
        }
    }

    #[test]
    fn inputs_are_read_only_from_where_the_gateway_may() {
        let check = |input: &str| served().check(&Caller::local(), request("a", &[input]));
        for good in ["s3://landing/in/x.csv", "s3://landing/in/a..b/x.csv", "s3://landing/in"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["s3://landing/internal/x.csv", "s3://landing/in/../x.csv", "s3://landing/x", "/etc/passwd"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
