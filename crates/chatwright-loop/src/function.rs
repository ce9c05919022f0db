//! A tool that is a function.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use async_trait::async_trait;
use chatwright_core::content::Output;
use chatwright_core::port::Tool;
use chatwright_core::tool::{Effect, ToolCall, ToolSpec};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A tool that is a function of its arguments, whose type says their JSON Schema.
///
/// ```
/// use chatwright_core::tool::Effect;
/// use chatwright_loop::FnTool;
///
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// struct Zone {
///     /// A time zone, for example Europe/Berlin.
///     zone: String,
/// }
///
/// let clock = FnTool::new("clock", "Tells the time.", Effect::Pure, |input: Zone| async move {
///     format!("It is noon in {}.", input.zone)
/// });
/// ```
///
/// What the function gives becomes the result by [`IntoOutput`]: text, JSON, media, or an error that the model reads.
pub struct FnTool<A, F> {
    spec: ToolSpec,
    run: F,
    arguments: PhantomData<fn(A)>,
}

impl<A, F> FnTool<A, F> {
    /// Changes what the tool declares of itself: a deadline, an approval, a resource.
    ///
    /// ```
    /// # use chatwright_core::tool::Effect;
    /// # use chatwright_loop::FnTool;
    /// # #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// # struct Path { path: String }
    /// # async fn delete(_: Path) -> String { String::new() }
    /// let delete = FnTool::new("delete", "Deletes a file.", Effect::Once, delete)
    ///     .declare(|spec| spec.with_approval().with_resource("/path"));
    /// ```
    #[must_use]
    pub fn declare(mut self, change: impl FnOnce(ToolSpec) -> ToolSpec) -> Self {
        self.spec = change(self.spec);
        self
    }

    fn over(name: impl Into<Box<str>>, description: impl Into<Box<str>>, effect: Effect, run: F) -> Self
    where
        A: JsonSchema,
    {
        let spec = ToolSpec::new(name, description, schema::<A>(), effect);
        Self { spec, run, arguments: PhantomData }
    }
}

impl<A, F, R> FnTool<A, F>
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A) -> R + Send + Sync + 'static,
    R: Future<Output: IntoOutput> + Send,
{
    /// A tool of this function.
    pub fn new(
        name: impl Into<Box<str>>,
        description: impl Into<Box<str>>,
        effect: Effect,
        run: F,
    ) -> FnTool<A, impl Fn(A, ToolCall) -> R + Send + Sync + 'static> {
        FnTool::over(name, description, effect, move |arguments, _| run(arguments))
    }
}

impl<A, F, R> FnTool<A, F>
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A, ToolCall) -> R + Send + Sync + 'static,
    R: Future<Output: IntoOutput> + Send,
{
    /// A tool of this function, which is also told which call it is: its key for idempotent effects, its deadline, and when its
    /// result is not wanted any more.
    pub fn with_call(
        name: impl Into<Box<str>>,
        description: impl Into<Box<str>>,
        effect: Effect,
        run: F,
    ) -> Self {
        Self::over(name, description, effect, run)
    }
}

impl<A, F> fmt::Debug for FnTool<A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FnTool").field("spec", &self.spec).finish_non_exhaustive()
    }
}

#[async_trait]
impl<A, F, R> Tool for FnTool<A, F>
where
    A: DeserializeOwned + JsonSchema + Send + 'static,
    F: Fn(A, ToolCall) -> R + Send + Sync + 'static,
    R: Future<Output: IntoOutput> + Send,
{
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    async fn call(&self, call: ToolCall) -> Output {
        // Its schema may allow what its type does not.
        match serde_json::from_value(call.input.clone()) {
            Ok(arguments) => (self.run)(arguments, call).await.into_output(),
            Err(error) => Output::error(format!("The arguments cannot be read: {error}.")),
        }
    }
}

/// The schema of a type, as models read it best.
fn schema<A: JsonSchema>() -> Value {
    let mut schema = schemars::SchemaGenerator::default().into_root_schema_for::<A>().to_value();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("$schema");
        fields.remove("title");
    }
    schema
}

/// What a function may give as the result of a call.
pub trait IntoOutput {
    /// The result.
    fn into_output(self) -> Output;
}

impl IntoOutput for Output {
    fn into_output(self) -> Output {
        self
    }
}

impl IntoOutput for String {
    fn into_output(self) -> Output {
        Output::text(self)
    }
}

impl IntoOutput for &str {
    fn into_output(self) -> Output {
        Output::text(self)
    }
}

/// As JSON text.
impl IntoOutput for Value {
    fn into_output(self) -> Output {
        Output::text(self.to_string())
    }
}

/// An error becomes words that the model reads.
impl<T: IntoOutput, E: fmt::Display> IntoOutput for Result<T, E> {
    fn into_output(self) -> Output {
        self.map_or_else(|error| Output::error(error.to_string()), IntoOutput::into_output)
    }
}
