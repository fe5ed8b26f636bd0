"""Every argument of vLLM's engine, sorted by what it does to captions. A test fails when vLLM has one that nobody sorted.

Speed means: the same text up to the order in which numbers are added, which batches change anyway. What chooses another
arithmetic (a data type, a backend of attention, a quantisation) or another input counts as shaping the text. An argument in
doubt shapes it: to redo captions costs time, to keep wrong ones costs trust.
"""

from typing import Final

SPEED_ONLY: Final = frozenset(
    {
        # how many at once, and in which order
        "max_num_seqs", "max_num_batched_tokens", "max_num_scheduled_tokens", "max_num_active_seqs", "max_num_queued_reqs",
        "max_num_queued_tokens", "long_prefill_token_threshold", "long_prefill_token_threshold_adaptive",
        "enable_chunked_prefill", "disable_chunked_mm_input", "scheduler_reserve_full_isl", "prefill_schedule_interval",
        "watermark", "scheduling_policy", "async_scheduling", "stream_interval", "performance_mode", "renderer_num_workers",
        # memory and caches
        "gpu_memory_utilization", "kv_cache_memory_bytes", "num_gpu_blocks_override", "block_size", "swap_space",
        "enable_prefix_caching", "prefix_caching_hash_algo", "prefix_cache_retention_interval", "prefix_match_unit",
        "disable_hybrid_kv_cache_manager", "mm_processor_cache_gb", "mm_processor_cache_type",
        "mm_hasher_algorithm", "mm_shm_cache_max_object_size_mb", "mm_tensor_ipc", "mm_ipc_gpu_memory_gb",
        "skip_mm_profiling", "cpu_offload_gb", "cpu_offload_params", "offload_backend", "offload_group_size",
        "offload_num_in_group", "offload_prefetch_step", "offload_params", "kv_offloading_size", "kv_offloading_backend",
        "enable_sleep_mode", "sleep_mode_offload_cudagraph", "sleep_preserve_parameter_names", "enable_cumem_allocator",
        "enable_shm_tensor_arena", "max_loras", "max_cpu_loras", "fully_sharded_loras", "specialize_active_lora",
        "limit_mm_per_prompt", "ec_manager_config",
        # how the work is spread over devices and processes
        "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "data_parallel_rank",
        "data_parallel_start_rank", "data_parallel_size_local", "data_parallel_address", "data_parallel_rpc_port",
        "data_parallel_hybrid_lb", "data_parallel_external_lb", "data_parallel_multi_port_external_lb",
        "data_parallel_backend", "prefill_context_parallel_size", "decode_context_parallel_size", "dcp_comm_backend",
        "dcp_q_replicate", "dcp_kv_cache_interleave_size", "cp_kv_cache_interleave_size", "enable_hc_sp",
        "enable_expert_parallel", "enable_batch_sharded_sampling", "enable_ep_weight_filter", "enable_elastic_ep",
        "elastic_ep_max_dp_size", "enable_dbo", "ubatch_size", "dbo_decode_token_threshold", "dbo_prefill_token_threshold",
        "dp_sync_interval", "disable_nccl_for_dp_synchronization", "enable_nccl_comm_suspend", "eplb_config", "enable_eplb",
        "expert_placement_strategy", "all2all_backend", "distributed_executor_backend", "disable_custom_all_reduce",
        "mm_encoder_tp_mode", "master_addr", "master_port", "nnodes", "node_rank", "distributed_timeout_seconds",
        "cpu_distributed_timeout_seconds", "numa_bind", "numa_bind_nodes", "numa_bind_cpus", "device_ids",
        "_api_process_count", "_api_process_rank", "worker_cls", "ray_workers_use_nsight", "fault_tolerance_config",
        "enable_fault_tolerance", "shutdown_timeout", "kv_transfer_config", "kv_events_config", "ec_transfer_config",
        # compilation
        "enforce_eager", "compilation_config", "cudagraph_capture_sizes", "max_cudagraph_capture_size", "optimization_level",
        "enable_flashinfer_autotune", "disable_cascade_attn",
        # how weights come into memory
        "load_format", "download_dir", "max_parallel_loading_workers", "safetensors_load_strategy",
        "safetensors_prefetch_num_threads", "safetensors_prefetch_block_size", "use_tqdm_on_load", "pt_load_map_location",
        "model_loader_extra_config", "ignore_patterns", "hf_token",
        # logs and measurements
        "disable_log_stats", "enable_log_requests", "aggregate_engine_logging", "uvicorn_log_level", "logging_config",
        "log_level", "log_config_file", "show_hidden_metrics_for_version", "otlp_traces_endpoint", "collect_detailed_traces",
        "per_request_spec_decode_metrics", "kv_cache_metrics", "kv_cache_metrics_sample", "custom_histogram_buckets",
        "cudagraph_metrics", "enable_layerwise_nvtx_tracing", "enable_mfu_metrics", "enable_logging_iteration_details",
        "jit_monitor_mode", "jit_monitor_verbose", "enable_mm_processor_stats", "profiler_config", "enable_trace_replay",
        "fail_on_environ_validation", "served_model_name", "max_logprobs", "mm_encoder_fp8_scale_save_path",
    }
)  # fmt: skip
"""They leave fingerprints alone. `swap_space` and `uvicorn_log_level` are of older versions of vLLM."""

SHAPES_TEXT: Final = frozenset(
    {
        # what is computed
        "model_weights", "tokenizer", "hf_config_path", "hf_overrides", "model_class_overrides", "config_format", "model_impl",
        "code_revision", "tokenizer_mode", "convert", "runner", "max_model_len", "disable_sliding_window",
        "generation_config", "override_generation_config", "logits_processors", "logprobs_mode",
        "structured_outputs_config", "reasoning_config", "reasoning_parser_plugin", "watermark_config", "diffusion_config",
        "additional_config", "worker_extension_cls", "scheduler_cls", "engram_config", "pooler_config", "aux_output_config",
        # with which numbers
        "dtype", "quantization", "quantization_config", "allow_deprecated_quantization", "kv_cache_dtype",
        "kv_cache_dtype_skip_layers", "lora_dtype", "mm_encoder_attn_dtype", "mm_encoder_fp8_scale_path",
        "mm_encoder_fp8_scale_save_margin", "mamba_cache_dtype", "mamba_ssm_cache_dtype",
        "enable_mamba_cache_stochastic_rounding", "mamba_cache_philox_rounds", "use_fp64_gumbel",
        # by which code
        "attention_backend", "attention_config", "mm_encoder_attn_backend", "moe_backend", "linear_backend",
        "sparse_indexer_topk_backend", "kernel_config", "ir_op_priority", "mamba_backend", "mamba_config",
        "mamba_ssu_algorithm", "mamba_block_size", "mamba_cache_mode", "enable_mamba_shared_prefix_checkpoint",
        "replayssm_buffer_len", "use_replayssm", "gdn_prefill_backend", "kda_prefill_backend", "kda_decode_backend",
        "kv_sharing_fast_prefill", "swa_bounded_replay", "speculative_config", "spec_method", "spec_model", "spec_tokens",
        # of what image
        "mm_processor_kwargs", "media_io_kwargs", "mm_processor_device", "mm_device_do_normalize", "interleave_mm_strings",
        "video_pruning_rate", "video_pruning_method", "io_processor_plugin",
        # with which adapter
        "lora_target_modules", "enable_tower_connector_lora", "enable_mixed_moe_lora_format", "enable_moe_shared_loras",
        "default_mm_loras", "max_lora_rank", "max_lora_cls_labels",
    }
)  # fmt: skip
"""They are in the fingerprint of a caption."""

NOT_HERE: Final = {
    "model": "write it in the view",
    "revision": "write it in the view",
    "tokenizer_revision": "the view's revision is that of the tokenizer too",
    "trust_remote_code": "write it in the view",
    "seed": "write it in the recipe",
    "enable_lora": "write `lora:` in the view",
    "reasoning_parser": "write `reasoning:` in the view",
    "skip_tokenizer_init": "captions are texts: they need the tokenizer",
    "language_model_only": "a captioner sees images",
    "mm_encoder_only": "a captioner writes texts",
    "enable_mm_embeds": "images are sent, not what an encoder made of them",
    "enable_prompt_embeds": "prompts are sent as text",
    "tokens_only": "captions are texts",
    "enable_return_routed_experts": "nothing reads them",
    "return_sampling_mask": "nothing reads it",
    "allowed_local_media_path": "images come from the source",
    "allowed_media_domains": "images come from the source",
    "weight_transfer_config": "weights do not change while a run goes on",
}
"""Arguments that a recipe may not give to an engine, each with what to do instead, or why."""
