"""Every code that an error or a failed job may carry, and what it says: the reference page is written from here."""

from collections.abc import Mapping

REQUEST_CODES: Mapping[str, str] = {
    "invalid_json": "The body is not JSON.",
    "invalid_request": "The request is malformed in a way that HTTP itself forbids.",
    "invalid_value": "`param` has a value that is not allowed, or does not go with another.",
    "missing_parameter": "`param` is required.",
    "unknown_parameter": "There is no parameter `param`.",
    "unsupported_parameter": "`param` exists in OpenAI's API and not here.",
    "request_too_large": "The body has more bytes than are taken here.",
    "not_found": "There is no such route.",
    "method_not_allowed": "The route does not take that method.",
    "invalid_api_key": "No key was sent, or one that is not known.",
    "insufficient_scope": "The key lacks the scope that the message names.",
    "untrusted_host": "A server without keys answers callers of its own machine only.",
    "client_closed_request": "The client went away before there was an answer.",
}
"""Of any route."""

FINETUNING_CODES: Mapping[str, str] = {
    "file_not_found": "There is no such file. Of a job: a file that it reads is gone from the store.",
    "invalid_file": "A file's name or format cannot be used, or it is empty.",
    "file_too_large": "The file has more bytes than LORAD_MAX_FILE_BYTES.",
    "too_many_files": "As many files are stored as LORAD_MAX_FILES allows.",
    "file_in_use": "A job that has not ended reads the file; the message names it.",
    "job_not_found": "There is no such job, event or checkpoint.",
    "invalid_job_state": "The job's state forbids it; the message says which states allow it.",
    "idempotency_key_reused": "The Idempotency-Key stands for another body.",
    "too_many_jobs": "As many jobs wait or run as LORAD_MAX_JOBS allows.",
    "too_many_preflights": "A report or an estimate is being made; try again later.",
    "too_many_streams": "As many event streams are open as may be; read the list.",
    "generation_not_found": "There is no such generation.",
    "invalid_generation_state": "The generation's state forbids it.",
    "too_many_generations": "As many generations wait or run as may.",
    "generation_error": "A generation failed in a way that the server's log explains.",
    "job_error": "The jobs failed in a way that the server's log explains.",
}
"""Of `/v1/files`, `/v1/fine_tuning` and `/v1/data`."""

JOB_CODES: Mapping[str, str] = {
    "invalid_training_file": "The rows failed the preflight, or no row can be learnt; the message begins with where. "
    "As an error: of a file as a whole.",
    "invalid_hyperparameters": "The settings do not go together, or not with this base.",
    "diverged": "The loss is no number any more.",
    "base_unavailable": "The worker cannot load the base.",
    "training_failed": "The run failed; the message says why.",
    "disk_full": "The worker's disk has no room.",
    "worker_lost": "Attempts in a row got no further: workers were lost with this job or met errors of their own.",
}
"""In `error.code` of a job that has failed."""

INFERENCE_CODES: Mapping[str, str] = {
    "model_not_found": "There is no such base, adapter, version or alias.",
    "invalid_prompt": "The prompt cannot be computed.",
    "invalid_messages": "The base's template cannot express the conversation.",
    "context_length_exceeded": "Prompt and answer are longer than the base's context.",
    "invalid_grammar": "The schema, expression or grammar cannot be compiled.",
    "invalid_adapters": "The adapters cannot act together, or not on this server.",
    "too_many_answers": "The request asks for more answers at once than are allowed.",
    "too_many_evaluations": "As many evaluations run as may; try again later.",
    "dataset_not_found": "The operator has put no such data set in place.",
    "invalid_data": "The rows cannot be read.",
    "judge_unavailable": "The model that judges answers cannot be asked.",
    "invalid_evaluation": "The evaluation cannot be made as it was asked for.",
    "unknown_metric": "There is no such metric.",
    "invalid_comparison": "The evaluations had other cases, or their models do not pair.",
    "evaluation_not_found": "There is no such evaluation, event or model of it.",
    "invalid_evaluation_state": "The evaluation's state forbids it; the message says which states allow it.",
    "evaluation_cancelled": "The evaluation was cancelled, or another server goes on with it.",
    "too_many_open_evaluations": "As many evaluations of the tenant wait or run as may.",
    "invalid_suite": "A suite is not well formed; the message names the case and the field.",
    "suite_not_found": "There is no such suite, or no such version of it.",
    "too_many_suites": "As many versions of suites are kept as may be.",
    "queue_full": "As many requests wait as may; try again after Retry-After.",
    "deadline_exceeded": "The request's time was over.",
    "adapter_load_failed": "The adapter's files cannot be used.",
    "evaluation_failed": "A model failed under evaluation.",
    "engine_error": "The engine failed with this request.",
    "engine_failed": "The engine has failed with every request.",
}
"""Of generation and evaluation."""

ADAPTER_CODES: Mapping[str, str] = {
    "invalid_name": "A name, alias or reference is malformed, or the base's own.",
    "invalid_adapter": "The archive, or the adapter in it, cannot be used here.",
    "adapter_base_mismatch": "The adapter was made for another base.",
    "adapter_error": "The adapter cannot be used in that way.",
    "alias_in_use": "An alias points to the version.",
    "alias_moved": "The alias does not point where the caller expects it.",
    "no_earlier_version": "The alias has nothing to go back to.",
    "gate_not_found": "The alias has no gate, or the gate no such check.",
    "invalid_gate": "A gate's policy is malformed, or names no suite.",
    "too_many_gates": "As many gates are kept, or checks wait, as may.",
    "not_loaded": "The adapter is not loaded to stay.",
    "too_many_pins": "As many adapters are kept on the device as may be.",
    "invalid_tag": "A tag's key or value is malformed.",
    "invalid_search": "A search is malformed.",
    "untrusted_archive": "The archive's signature is missing, wrong, or of a key that is not trusted.",
    "signing_unavailable": "This server has no key to sign with.",
}
"""Of the registry."""

ARENA_CODES: Mapping[str, str] = {
    "battle_not_found": "There is no such battle.",
    "already_voted": "The voter has voted on this battle.",
    "too_few_models": "A battle needs two different models.",
    "too_many_battles": "As many battles or ratings are kept as may be.",
}
"""Of `/v1/arena`."""

SERVER_CODES: Mapping[str, str] = {
    "server_loading": "The base is being loaded; try again after Retry-After.",
    "server_draining": "The server shuts down; try again after Retry-After.",
    "server_failed": "The base or its engine has failed.",
    "storage_unavailable": "Database or object store cannot be reached; try again after Retry-After.",
    "storage_full": "The server's storage is full.",
    "base_error": "The base cannot be read.",
    "internal_error": "The server failed in an unforeseen way; its log has the details.",
}
"""The server's own trouble."""

ERROR_CODES: Mapping[str, Mapping[str, str]] = {
    "Any request": REQUEST_CODES,
    "Files and jobs": FINETUNING_CODES,
    "Jobs that have failed": JOB_CODES,
    "Inference and evaluation": INFERENCE_CODES,
    "Adapters": ADAPTER_CODES,
    "Arena": ARENA_CODES,
    "The server": SERVER_CODES,
}
"""By part of the API."""
