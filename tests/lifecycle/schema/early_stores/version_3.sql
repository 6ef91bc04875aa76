BEGIN TRANSACTION;
CREATE TABLE job_events (
	job_id VARCHAR(40) NOT NULL,
	position INTEGER NOT NULL,
	event_id VARCHAR NOT NULL,
	origin VARCHAR(20) NOT NULL,
	created_at DATETIME NOT NULL,
	level VARCHAR(10) NOT NULL,
	message VARCHAR NOT NULL,
	type VARCHAR(40) NOT NULL,
	data JSON NOT NULL,
	PRIMARY KEY (job_id, position),
	UNIQUE (job_id, event_id),
	FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "job_events" VALUES('job-1d78ac28a0ca',1,'tuneport-d62de58bb400','tuneport','2026-11-27 16:33:25.005577','info','The training file is ready: fakefile-b29ccd69411dd14f','file','{}');
INSERT INTO "job_events" VALUES('job-1d78ac28a0ca',2,'tuneport-fakejob-000001','tuneport','2026-11-27 16:33:25.116665','info','Submitted to fake as fakejob-000001','submitted','{}');
INSERT INTO "job_events" VALUES('job-1d78ac28a0ca',3,'fakejob-000001-0','backend','2026-11-27 16:33:25.116358','info','Created job fakejob-000001','message','{}');
INSERT INTO "job_events" VALUES('job-c495e5bdb9dd',1,'tuneport-05591af2fa3f','tuneport','2026-11-27 16:33:30.041827','info','The training file is ready: fakefile-b29ccd69411dd14f','file','{}');
INSERT INTO "job_events" VALUES('job-c495e5bdb9dd',2,'tuneport-fakejob-000002','tuneport','2026-11-27 16:33:30.118645','info','Submitted to fake as fakejob-000002','submitted','{}');
INSERT INTO "job_events" VALUES('job-c495e5bdb9dd',3,'fakejob-000002-0','backend','2026-11-27 16:33:30.118355','info','Created job fakejob-000002','message','{}');
INSERT INTO "job_events" VALUES('job-80b00a0b5783',1,'tuneport-671f97ed41bb','tuneport','2026-11-27 16:33:35.151876','info','The training file is ready: fakefile-b29ccd69411dd14f','file','{}');
INSERT INTO "job_events" VALUES('job-80b00a0b5783',2,'tuneport-fakejob-000003','tuneport','2026-11-27 16:33:35.207256','info','Submitted to fake as fakejob-000003','submitted','{}');
INSERT INTO "job_events" VALUES('job-80b00a0b5783',3,'fakejob-000003-0','backend','2026-11-27 16:33:35.206974','info','Created job fakejob-000003','message','{}');
CREATE TABLE jobs (
	id VARCHAR(40) NOT NULL,
	token VARCHAR(40) NOT NULL,
	backend VARCHAR(80) NOT NULL,
	model VARCHAR NOT NULL,
	spec JSON NOT NULL,
	prepared JSON NOT NULL,
	quote JSON,
	status VARCHAR(20) NOT NULL,
	remote_id VARCHAR,
	state JSON,
	error JSON,
	note VARCHAR,
	submit_intent_at DATETIME,
	submit_attempts INTEGER NOT NULL,
	absent_since DATETIME,
	cancel_requested_at DATETIME,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	finished_at DATETIME,
	polled_at DATETIME,
	lease_owner VARCHAR(80),
	lease_expires_at DATETIME,
	due_at DATETIME,
	waits_since DATETIME,
	tuned_model VARCHAR,
	wish VARCHAR(10),
	delete_files BOOLEAN DEFAULT 0 NOT NULL,
	delete_requested_at DATETIME,
	deleted_at DATETIME,
	events_due BOOLEAN DEFAULT 0 NOT NULL,
	estimate JSON,
	actual JSON,
	running_at DATETIME,
	running_by VARCHAR(10),
	budget_usd FLOAT,
	reserved_usd FLOAT,
	cost_usd FLOAT,
	cancel_over_budget BOOLEAN DEFAULT 0 NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (token)
);
INSERT INTO "jobs" VALUES('job-1d78ac28a0ca','3c59f8437e113c7e7f7d7800ebb395db','fake','fake-small','{"model": "fake-small", "dataset": "/srv/t.jsonl", "validation": null, "columns": {}, "method": "sft", "adapter": "auto", "hyperparameters": {"epochs": "auto", "batch_size": "auto", "learning_rate": "auto", "learning_rate_multiplier": "auto", "warmup_ratio": "auto", "weight_decay": "auto", "max_length": "auto", "lora_rank": "auto", "lora_alpha": "auto", "lora_dropout": "auto", "virtual_tokens": "auto", "beta": "auto", "compute_multiplier": "auto", "eval_interval": "auto", "eval_samples": "auto", "reasoning_effort": "auto"}, "suffix": null, "seed": null, "budget": null, "metadata": {}, "grader": null, "reward": null, "reward_folder": null, "from_checkpoint": null, "wandb": null, "provider_options": {}}','{"training": {"path": "/srv/tuneport/files/b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca.jsonl", "sha256": "b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca", "format": "openai", "rows": 12, "bytes": 1180, "trained_tokens": 204, "left_out": []}, "validation": null}','{"backend": "fake", "model": "fake-small", "expected": null, "low": null, "high": null, "billed_tokens_per_epoch": null, "billed_tokens_per_epoch_low": null, "billed_tokens_per_epoch_high": null, "unavailable": "a provider in a folder, for tests and examples: no rule of billing is known", "authority": "manifest", "explanation": "", "source": null, "as_of": null}','succeeded','fakejob-000001','{"remote_id": "fakejob-000001", "status": "succeeded", "raw_status": "done", "model": "fake-small", "tuned_model": "fake:fake-small::fakejob-000001", "created_at": "2026-11-27T16:33:25.116358Z", "finished_at": "2026-11-27T16:33:33.116358Z", "estimated_finish": null, "trained_tokens": 600, "cost": null, "progress": {"step": 6, "total_steps": 6, "epoch": 3.0, "train_loss": null, "tokens_per_second": null, "seconds_left": null}, "error": null, "hyperparameters": {}, "result_files": [], "details": {"training_file": "fakefile-b29ccd69411dd14f"}}','null',NULL,'2026-11-27 16:33:25.084095',1,NULL,NULL,'2026-11-27 16:33:24.966957','2026-11-27 16:33:29.776838','2026-11-27 16:33:33.116358','2026-11-27 16:33:29.776535',NULL,NULL,NULL,NULL,'fake:fake-small::fakejob-000001',NULL,0,NULL,NULL,0,'{"seconds": null, "seconds_low": null, "seconds_high": null, "seconds_unavailable": "a provider in a folder, for tests and examples publishes no training throughput and no queue times", "seconds_because": "", "uncorrected_seconds": null, "epochs": 5, "tokens": 1020, "params_b": null, "adapter": "lora", "device": null, "billing": null, "usd_per_mtok": null, "minimum_usd": null, "price_source": null, "price_as_of": null, "failed_pays": "unknown", "cancelled_pays": "unknown", "usd_per_hour": null}','{"usd": null, "usd_unavailable": "fake tells no sum, and the price of this job was not known", "usd_because": "", "authority": null, "seconds": 6.765676, "seconds_unavailable": null, "seconds_because": "training until its end, since it was first seen training; waiting before that is not counted", "tokens": 600, "interrupted": false}','2026-11-27 16:33:26.350682','seen',NULL,NULL,NULL,0);
INSERT INTO "jobs" VALUES('job-c495e5bdb9dd','7a927afc26fc7dee9eadbf69a718ff9c','fake','fake-small','{"model": "fake-small", "dataset": "/srv/t.jsonl", "validation": null, "columns": {}, "method": "sft", "adapter": "auto", "hyperparameters": {"epochs": "auto", "batch_size": "auto", "learning_rate": "auto", "learning_rate_multiplier": "auto", "warmup_ratio": "auto", "weight_decay": "auto", "max_length": "auto", "lora_rank": "auto", "lora_alpha": "auto", "lora_dropout": "auto", "virtual_tokens": "auto", "beta": "auto", "compute_multiplier": "auto", "eval_interval": "auto", "eval_samples": "auto", "reasoning_effort": "auto"}, "suffix": null, "seed": null, "budget": null, "metadata": {}, "grader": null, "reward": null, "reward_folder": null, "from_checkpoint": null, "wandb": null, "provider_options": {}}','{"training": {"path": "/srv/tuneport/files/b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca.jsonl", "sha256": "b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca", "format": "openai", "rows": 12, "bytes": 1180, "trained_tokens": 204, "left_out": []}, "validation": null}','{"backend": "fake", "model": "fake-small", "expected": null, "low": null, "high": null, "billed_tokens_per_epoch": null, "billed_tokens_per_epoch_low": null, "billed_tokens_per_epoch_high": null, "unavailable": "a provider in a folder, for tests and examples: no rule of billing is known", "authority": "manifest", "explanation": "", "source": null, "as_of": null}','succeeded','fakejob-000002','{"remote_id": "fakejob-000002", "status": "succeeded", "raw_status": "done", "model": "fake-small", "tuned_model": "fake:fake-small::fakejob-000002", "created_at": "2026-11-27T16:33:30.118355Z", "finished_at": "2026-11-27T16:33:38.118355Z", "estimated_finish": null, "trained_tokens": 600, "cost": null, "progress": {"step": 6, "total_steps": 6, "epoch": 3.0, "train_loss": null, "tokens_per_second": null, "seconds_left": null}, "error": null, "hyperparameters": {}, "result_files": [], "details": {"training_file": "fakefile-b29ccd69411dd14f"}}','null',NULL,'2026-11-27 16:33:30.094478',1,NULL,NULL,'2026-11-27 16:33:29.971847','2026-11-27 16:33:34.835038','2026-11-27 16:33:38.118355','2026-11-27 16:33:34.834702',NULL,NULL,NULL,NULL,'fake:fake-small::fakejob-000002',NULL,0,NULL,NULL,0,'{"seconds": null, "seconds_low": null, "seconds_high": null, "seconds_unavailable": "a provider in a folder, for tests and examples publishes no training throughput, and only one finished job is of about this size: 3 would tell", "seconds_because": "", "uncorrected_seconds": null, "epochs": 5, "tokens": 1020, "params_b": null, "adapter": "lora", "device": null, "billing": null, "usd_per_mtok": null, "minimum_usd": null, "price_source": null, "price_as_of": null, "failed_pays": "unknown", "cancelled_pays": "unknown", "usd_per_hour": null}','{"usd": null, "usd_unavailable": "fake tells no sum, and the price of this job was not known", "usd_because": "", "authority": null, "seconds": 6.759753, "seconds_unavailable": null, "seconds_because": "training until its end, since it was first seen training; waiting before that is not counted", "tokens": 600, "interrupted": false}','2026-11-27 16:33:31.358602','seen',NULL,NULL,NULL,0);
INSERT INTO "jobs" VALUES('job-80b00a0b5783','36214a15df30930121f424feb9e31159','fake','fake-small','{"model": "fake-small", "dataset": "/srv/t.jsonl", "validation": null, "columns": {}, "method": "sft", "adapter": "auto", "hyperparameters": {"epochs": "auto", "batch_size": "auto", "learning_rate": "auto", "learning_rate_multiplier": "auto", "warmup_ratio": "auto", "weight_decay": "auto", "max_length": "auto", "lora_rank": "auto", "lora_alpha": "auto", "lora_dropout": "auto", "virtual_tokens": "auto", "beta": "auto", "compute_multiplier": "auto", "eval_interval": "auto", "eval_samples": "auto", "reasoning_effort": "auto"}, "suffix": null, "seed": null, "budget": null, "metadata": {}, "grader": null, "reward": null, "reward_folder": null, "from_checkpoint": null, "wandb": null, "provider_options": {}}','{"training": {"path": "/srv/tuneport/files/b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca.jsonl", "sha256": "b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca", "format": "openai", "rows": 12, "bytes": 1180, "trained_tokens": 204, "left_out": []}, "validation": null}','{"backend": "fake", "model": "fake-small", "expected": null, "low": null, "high": null, "billed_tokens_per_epoch": null, "billed_tokens_per_epoch_low": null, "billed_tokens_per_epoch_high": null, "unavailable": "a provider in a folder, for tests and examples: no rule of billing is known", "authority": "manifest", "explanation": "", "source": null, "as_of": null}','queued','fakejob-000003','{"remote_id": "fakejob-000003", "status": "queued", "raw_status": "waiting", "model": "fake-small", "tuned_model": null, "created_at": "2026-11-27T16:33:35.206974Z", "finished_at": null, "estimated_finish": null, "trained_tokens": null, "cost": null, "progress": {"step": 0, "total_steps": 6, "epoch": 0.0, "train_loss": null, "tokens_per_second": null, "seconds_left": null}, "error": null, "hyperparameters": {}, "result_files": [], "details": {"training_file": "fakefile-b29ccd69411dd14f"}}','null',NULL,'2026-11-27 16:33:35.178618',1,NULL,NULL,'2026-11-27 16:33:35.010412','2026-11-27 16:33:35.363774',NULL,'2026-11-27 16:33:35.363709',NULL,NULL,'2026-11-27 16:33:40.276997',NULL,NULL,NULL,0,NULL,NULL,1,'{"seconds": null, "seconds_low": null, "seconds_high": null, "seconds_unavailable": "a provider in a folder, for tests and examples publishes no training throughput, and only 2 finished jobs are of about this size: 3 would tell", "seconds_because": "", "uncorrected_seconds": null, "epochs": 5, "tokens": 1020, "params_b": null, "adapter": "lora", "device": null, "billing": null, "usd_per_mtok": null, "minimum_usd": null, "price_source": null, "price_as_of": null, "failed_pays": "unknown", "cancelled_pays": "unknown", "usd_per_hour": null}',NULL,NULL,NULL,NULL,NULL,NULL,0);
CREATE TABLE remote_files (
	id INTEGER NOT NULL,
	job_id VARCHAR(40) NOT NULL,
	remote_id VARCHAR NOT NULL,
	purpose VARCHAR(20) NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	filename VARCHAR NOT NULL,
	bytes INTEGER NOT NULL,
	created_at DATETIME NOT NULL,
	deleting_at DATETIME,
	deleted_at DATETIME,
	PRIMARY KEY (id),
	UNIQUE (job_id, purpose),
	FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "remote_files" VALUES(1,'job-1d78ac28a0ca','fakefile-b29ccd69411dd14f','training','b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca','fakefile-b29ccd69411dd14f.jsonl',1180,'2026-11-27 16:33:24.992877',NULL,NULL);
INSERT INTO "remote_files" VALUES(2,'job-c495e5bdb9dd','fakefile-b29ccd69411dd14f','training','b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca','fakefile-b29ccd69411dd14f.jsonl',1180,'2026-11-27 16:33:30.017779',NULL,NULL);
INSERT INTO "remote_files" VALUES(3,'job-80b00a0b5783','fakefile-b29ccd69411dd14f','training','b29ccd69411dd14f0c07f0714a065c4569d7f9c44aced8afdc46ba3424e59bca','fakefile-b29ccd69411dd14f.jsonl',1180,'2026-11-27 16:33:35.141109',NULL,NULL);
CREATE TABLE schema_version (
	version INTEGER NOT NULL,
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(3);
CREATE TABLE shown_terms (
	subject VARCHAR(200) NOT NULL,
	digest VARCHAR(64) NOT NULL,
	shown_at DATETIME NOT NULL,
	PRIMARY KEY (subject)
);
CREATE INDEX ix_jobs_tuned_model ON jobs (tuned_model);
CREATE INDEX jobs_by_age ON jobs (created_at DESC, id);
CREATE INDEX ix_jobs_remote_id ON jobs (remote_id);
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE INDEX ix_jobs_finished_at ON jobs (finished_at);
CREATE INDEX ix_jobs_due_at ON jobs (due_at);
CREATE INDEX remote_files_by_id ON remote_files (remote_id);
COMMIT;
