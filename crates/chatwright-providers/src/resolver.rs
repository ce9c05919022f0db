use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use chatwright_core::config::{Configured, ModelConfig, ProviderConfig};
use chatwright_core::port::{LanguageModel, ModelResolver, Unresolved};
use reqwest::Client;
use secrecy::SecretString;
use serde_json::Value;

use crate::endpoint::EndpointBuilder;
use crate::{
    AnthropicMessages, AnthropicThinking, ChatServer, Gemini, HttpSettings, InvalidModel, OpenAiChat,
    OpenAiChatBuilder, OpenAiResponses,
};

/// Makes models of what is configured, by the protocol of their provider:
///
/// | protocol | model | options of the provider's row | options of the model's row |
/// |---|---|---|---|
/// | `openai_chat` | [`OpenAiChat`] | `server`: the name of a [`ChatServer`]; `end_after_finish`, `no_content_type`, `max_tokens`, `no_stream_options`: true or false, as the methods of [`OpenAiChatBuilder`] | none |
/// | `openai_responses` | [`OpenAiResponses`] | none | none |
/// | `anthropic_messages` | [`AnthropicMessages`] | `no_prompt_caching`: true or false, as [the method](crate::AnthropicMessagesBuilder::no_prompt_caching) | `thinking`: `unsupported`, `budget` or `adaptive`, where the name of the model does not tell ([`AnthropicThinking`]) |
/// | `google_gemini` | [`Gemini`] | none | none |
///
/// An option that nobody knows is refused.
///
/// All models share one HTTP client.
///
/// ```
/// use chatwright_providers::HttpModels;
///
/// // A provider whose row has the credential "OPENAI" uses the key in `CHATWRIGHT_KEY_OPENAI`.
/// let models = HttpModels::from_env("CHATWRIGHT_KEY_");
/// // Or keys come from wherever the host keeps them.
/// let models = HttpModels::new(|credential| (credential == "OPENAI").then(|| "sk-…".to_owned()));
/// ```
pub struct HttpModels {
    keys: Box<Keys>,
    client: Option<Client>,
    shared: OnceLock<Client>,
}

/// What a model is made of.
#[derive(Clone, Copy)]
struct Rows<'a> {
    provider: &'a Configured<ProviderConfig>,
    model: &'a Configured<ModelConfig>,
    key: Option<&'a SecretString>,
}

type Keys = dyn Fn(&str) -> Option<SecretString> + Send + Sync;

impl HttpModels {
    /// Finds keys by the names that providers' rows give as their credentials.
    pub fn new(keys: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let keys = Box::new(move |credential: &str| keys(credential).map(SecretString::from));
        Self { keys, client: None, shared: OnceLock::new() }
    }

    /// Finds keys in environment variables: the credential with this prefix. Others are not read, so that whoever may write
    /// the configuration cannot have the process send them to a server of theirs.
    pub fn from_env(prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        Self::new(move |credential| std::env::var(format!("{prefix}{credential}")).ok())
    }

    /// A client of the host's own: proxies, certificates, time-outs. It should neither retry nor follow redirects.
    #[must_use]
    pub fn client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    fn shared_client(&self) -> Result<Client, InvalidModel> {
        if let Some(client) = self.client.as_ref().or(self.shared.get()) {
            return Ok(client.clone());
        }
        let client = HttpSettings::default().client()?;
        Ok(self.shared.get_or_init(|| client).clone())
    }

    fn openai_chat(&self, rows: Rows<'_>) -> Result<OpenAiChat, Box<str>> {
        let mut server = ChatServer::OpenAi;
        let mut quirks: Vec<fn(OpenAiChatBuilder) -> OpenAiChatBuilder> = Vec::new();
        for (name, value) in &rows.provider.options {
            let set: fn(OpenAiChatBuilder) -> OpenAiChatBuilder = match &**name {
                "server" => {
                    server = value.as_str().and_then(ChatServer::from_name).ok_or_else(unknown_server)?;
                    continue;
                }
                "end_after_finish" => OpenAiChatBuilder::end_after_finish,
                "no_content_type" => OpenAiChatBuilder::no_content_type,
                "max_tokens" => OpenAiChatBuilder::max_tokens,
                "no_stream_options" => OpenAiChatBuilder::no_stream_options,
                _ => return Err(unknown_option("provider", name)),
            };
            quirks.extend(is_set(name, value)?.then_some(set));
        }
        no_options("model", &rows.model.options)?;
        let builder = OpenAiChat::builder_for(server, &*rows.model.model);
        let mut builder = quirks.into_iter().fold(builder, |builder, set| set(builder));
        self.set_endpoint(&mut builder.endpoint, rows)?;
        builder.build().map_err(refused)
    }

    fn openai_responses(&self, rows: Rows<'_>) -> Result<OpenAiResponses, Box<str>> {
        no_options("provider", &rows.provider.options)?;
        no_options("model", &rows.model.options)?;
        let mut builder = OpenAiResponses::builder(&*rows.model.model);
        self.set_endpoint(&mut builder.endpoint, rows)?;
        builder.build().map_err(refused)
    }

    fn anthropic_messages(&self, rows: Rows<'_>) -> Result<AnthropicMessages, Box<str>> {
        let mut builder = AnthropicMessages::builder(&*rows.model.model);
        self.set_endpoint(&mut builder.endpoint, rows)?;
        for (name, value) in &rows.provider.options {
            match &**name {
                "no_prompt_caching" if is_set(name, value)? => builder = builder.no_prompt_caching(),
                "no_prompt_caching" => {}
                _ => return Err(unknown_option("provider", name)),
            }
        }
        for (name, value) in &rows.model.options {
            let "thinking" = &**name else { return Err(unknown_option("model", name)) };
            let thinking = value.as_str().and_then(AnthropicThinking::from_name);
            builder = builder.thinking(
                thinking.ok_or("its thinking is none of \"unsupported\", \"budget\" and \"adaptive\"")?,
            );
        }
        builder.build().map_err(refused)
    }

    fn google_gemini(&self, rows: Rows<'_>) -> Result<Gemini, Box<str>> {
        no_options("provider", &rows.provider.options)?;
        no_options("model", &rows.model.options)?;
        let mut builder = Gemini::builder(&*rows.model.model);
        self.set_endpoint(&mut builder.endpoint, rows)?;
        builder.build().map_err(refused)
    }

    /// Sets what models of every protocol have in common.
    fn set_endpoint(&self, endpoint: &mut EndpointBuilder, rows: Rows<'_>) -> Result<(), Box<str>> {
        endpoint.provider = rows.provider.id.as_ref().into();
        if let Some(url) = &rows.provider.base_url {
            endpoint.base_url = url.as_ref().into();
        }
        endpoint.key = rows.key.cloned();
        endpoint.client = Some(self.shared_client().map_err(refused)?);
        Ok(())
    }
}

fn refused(error: InvalidModel) -> Box<str> {
    match error {
        // The address may be a secret in the wrong place.
        InvalidModel::BaseUrl { why, .. } => {
            format!("its provider's address is none of a server: {why}").into()
        }
        error => error.to_string().into(),
    }
}

fn no_options(row: &str, options: &BTreeMap<Box<str>, Value>) -> Result<(), Box<str>> {
    options.keys().next().map_or(Ok(()), |name| Err(unknown_option(row, name)))
}

fn unknown_option(row: &str, name: &str) -> Box<str> {
    let of = if row == "provider" { "its provider has" } else { "it has" };
    format!("{of} the option {}, which nobody knows", shown(name)).into()
}

fn unknown_server() -> Box<str> {
    let names = ChatServer::ALL.map(|server| format!("{:?}", server.as_str()));
    format!("the server of its provider is none of {}", names.join(", ")).into()
}

fn is_set(name: &str, value: &Value) -> Result<bool, Box<str>> {
    value
        .as_bool()
        .ok_or_else(|| format!("the option {name:?} of its provider is neither true nor false").into())
}

/// A word of the configuration that is no name may be a secret in the wrong place.
fn shown(word: &str) -> String {
    let is_name = word.len() <= 32 && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_name { format!("{word:?}") } else { "something that is no name".to_owned() }
}

/// It keeps R1 to R3.
#[async_trait]
impl ModelResolver for HttpModels {
    async fn resolve(
        &self,
        provider: &Configured<ProviderConfig>,
        model: &Configured<ModelConfig>,
    ) -> Result<Arc<dyn LanguageModel>, Unresolved> {
        let key = provider.credential.as_deref().map(|credential| {
            (self.keys)(credential).ok_or_else(|| Unresolved::MissingKey { provider: provider.id.clone() })
        });
        let key = key.transpose()?;
        let rows = Rows { provider, model, key: key.as_ref() };
        let made: Result<Arc<dyn LanguageModel>, Box<str>> = match &*provider.protocol {
            "openai_chat" => self.openai_chat(rows).map(|model| Arc::new(model) as _),
            "openai_responses" => self.openai_responses(rows).map(|model| Arc::new(model) as _),
            "anthropic_messages" => {
                self.anthropic_messages(rows).map(|model| Arc::new(model) as _)
            }
            "google_gemini" => self.google_gemini(rows).map(|model| Arc::new(model) as _),
            other => Err(format!(
                "its provider speaks {}, and known are \"openai_chat\", \"openai_responses\", \"anthropic_messages\" and \"google_gemini\"",
                shown(other)
            )
            .into()),
        };
        made.map_err(|why| Unresolved::Invalid { model: model.id.clone(), why })
    }
}

impl fmt::Debug for HttpModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpModels").finish_non_exhaustive()
    }
}
