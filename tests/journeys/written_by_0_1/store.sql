BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL
);
INSERT INTO "alembic_version" VALUES('0009');
CREATE TABLE audit_log (
	id INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	project VARCHAR(64) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	token_id VARCHAR(12), 
	address VARCHAR(64), 
	request_id VARCHAR(40), 
	action VARCHAR(40) NOT NULL, 
	subject VARCHAR(200) NOT NULL, 
	usd FLOAT, 
	prompt_tokens INTEGER, 
	completion_tokens INTEGER, 
	PRIMARY KEY (id)
);
INSERT INTO "audit_log" VALUES(1,'2026-11-27 22:04:30.265663','default','local',NULL,NULL,NULL,'job.create','job-3dbc2c653e5c',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(2,'2026-11-27 22:04:30.265737','default','tuneport',NULL,NULL,NULL,'job.reserve','job-3dbc2c653e5c',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(3,'2026-11-27 22:04:33.958946','default','tuneport',NULL,NULL,NULL,'job.end','job-3dbc2c653e5c',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(4,'2026-11-27 22:04:33.979044','default','local',NULL,NULL,NULL,'job.create','job-d7e2cda9b13d',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(5,'2026-11-27 22:04:33.979090','default','tuneport',NULL,NULL,NULL,'job.reserve','job-d7e2cda9b13d',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(6,'2026-11-27 22:04:34.100163','default','local',NULL,NULL,NULL,'job.cancel','job-d7e2cda9b13d',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(7,'2026-11-27 22:04:34.111483','default','tuneport',NULL,NULL,NULL,'job.end','job-d7e2cda9b13d',0.0,NULL,NULL);
INSERT INTO "audit_log" VALUES(8,'2026-11-27 22:04:34.514687','default','local',NULL,'testclient','req_3ad8f14c5ee4ae9c966f2dd4de652785','file.create','file-9BmGI0H1eYDqezXSPR1ZOQYR',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(9,'2026-11-27 22:04:34.566500','default','local',NULL,'testclient','req_c04780c6e803a67f35f0593c1a256ff3','job.create','ftjob-Y92oQsinXxzkJWrYyZL1GzX7',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(10,'2026-11-27 22:04:34.611390','default','tuneport',NULL,NULL,NULL,'job.reserve','ftjob-Y92oQsinXxzkJWrYyZL1GzX7',NULL,NULL,NULL);
INSERT INTO "audit_log" VALUES(11,'2026-11-27 22:04:48.045047','default','tuneport',NULL,NULL,NULL,'job.end','ftjob-Y92oQsinXxzkJWrYyZL1GzX7',NULL,NULL,NULL);
CREATE TABLE browser_sessions (
	digest VARCHAR(64) NOT NULL, 
	token_id VARCHAR(12) NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	PRIMARY KEY (digest), 
	FOREIGN KEY(token_id) REFERENCES tokens (id) ON DELETE CASCADE
);
CREATE TABLE deliveries (
	id VARCHAR(40) NOT NULL, 
	endpoint VARCHAR(80) NOT NULL, 
	kind VARCHAR(10) NOT NULL, 
	event_id VARCHAR(40) NOT NULL, 
	type VARCHAR(40) NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	state VARCHAR(10) NOT NULL, 
	created_at DATETIME NOT NULL, 
	due_at DATETIME, 
	began_at DATETIME NOT NULL, 
	attempts INTEGER NOT NULL, 
	last_status INTEGER, 
	last_error VARCHAR, 
	ended_at DATETIME, 
	lease_owner VARCHAR(80), 
	lease_expires_at DATETIME, 
	PRIMARY KEY (id)
);
INSERT INTO "deliveries" VALUES('wh_c57fee6a5cd0eefb9be11b78c0fccb1b','team','webhook','evt_54a5e0bc16dfa4ddab5888b677ba1732','fine_tuning.job.succeeded','ftjob-Y92oQsinXxzkJWrYyZL1GzX7','waiting','2026-11-27 22:04:48.044037','2026-11-27 22:04:54.762762','2026-11-27 22:04:48.044037',1,NULL,'hooks.example.com has no address: [Errno -2] Name or service not known',NULL,NULL,NULL);
CREATE TABLE endpoints (
	name VARCHAR(80) NOT NULL, 
	kind VARCHAR(10) NOT NULL, 
	events JSON NOT NULL, 
	seen_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "endpoints" VALUES('team','webhook','["succeeded", "failed", "cancelled"]','2026-11-27 22:04:34.293241');
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
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',1,'tuneport-87ffa7409d75','tuneport','2026-11-27 22:04:30.311686','info','The training file is ready: fakefile-ec1b41d43c4ccca5','file','{}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',2,'tuneport-c1342f6b0ec0','tuneport','2026-11-27 22:04:30.320935','info','The validation file is ready: fakefile-ec1b41d43c4ccca5','file','{}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',3,'tuneport-fakejob-000001','tuneport','2026-11-27 22:04:30.375049','info','Submitted to fake as fakejob-000001','submitted','{}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',4,'fakejob-000001-0','backend','2026-11-27 22:04:30.370022','info','Created job fakejob-000001','message','{}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',5,'fakejob-000001-1','backend','2026-11-27 22:04:31.370022','info','Files checked, waiting for a machine','message','{}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',6,'fakejob-000001-2','backend','2026-11-27 22:04:32.370022','info','Step 1/6: loss 1.4','metrics','{"step": 1, "epoch": 0.5, "train_loss": 1.4, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',7,'fakejob-000001-3','backend','2026-11-27 22:04:33.370022','info','Step 2/6: loss 0.98','metrics','{"step": 2, "epoch": 1.0, "train_loss": 0.98, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',8,'fakejob-000001-4','backend','2026-11-27 22:04:34.370022','info','Step 3/6: loss 0.686','metrics','{"step": 3, "epoch": 1.5, "train_loss": 0.686, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',9,'fakejob-000001-5','backend','2026-11-27 22:04:35.370022','info','Step 4/6: loss 0.4802','metrics','{"step": 4, "epoch": 2.0, "train_loss": 0.4802, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',10,'fakejob-000001-6','backend','2026-11-27 22:04:36.370022','info','Step 5/6: loss 0.33614','metrics','{"step": 5, "epoch": 2.5, "train_loss": 0.33614, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',11,'fakejob-000001-7','backend','2026-11-27 22:04:37.370022','info','Step 6/6: loss 0.235298','metrics','{"step": 6, "epoch": 3.0, "train_loss": 0.235298, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('job-3dbc2c653e5c',12,'fakejob-000001-8','backend','2026-11-27 22:04:38.370022','info','Job done','message','{}');
INSERT INTO "job_events" VALUES('job-d7e2cda9b13d',1,'tuneport-7245d41c2892','tuneport','2026-11-27 22:04:34.021062','info','The training file is ready: fakefile-ec1b41d43c4ccca5','file','{}');
INSERT INTO "job_events" VALUES('job-d7e2cda9b13d',2,'tuneport-fakejob-000002','tuneport','2026-11-27 22:04:34.059029','info','Submitted to fake as fakejob-000002','submitted','{}');
INSERT INTO "job_events" VALUES('job-d7e2cda9b13d',3,'fakejob-000002-0','backend','2026-11-27 22:04:34.058734','info','Created job fakejob-000002','message','{}');
INSERT INTO "job_events" VALUES('job-d7e2cda9b13d',4,'fakejob-000002-1','backend','2026-11-27 22:04:35.058734','warning','Job stopped','message','{}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',1,'tuneport-e841c8b53187','tuneport','2026-11-27 22:04:35.361679','info','The training file is ready: fakefile-ec1b41d43c4ccca5','file','{}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',2,'tuneport-fakejob-000003','tuneport','2026-11-27 22:04:35.411614','info','Submitted to fake as fakejob-000003','submitted','{}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',3,'fakejob-000003-0','backend','2026-11-27 22:04:35.411257','info','Created job fakejob-000003','message','{}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',4,'fakejob-000003-1','backend','2026-11-27 22:04:36.411257','info','Files checked, waiting for a machine','message','{}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',5,'fakejob-000003-2','backend','2026-11-27 22:04:37.411257','info','Step 1/6: loss 1.4','metrics','{"step": 1, "epoch": 0.5, "train_loss": 1.4, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',6,'fakejob-000003-3','backend','2026-11-27 22:04:38.411257','info','Step 2/6: loss 0.98','metrics','{"step": 2, "epoch": 1.0, "train_loss": 0.98, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',7,'fakejob-000003-4','backend','2026-11-27 22:04:39.411257','info','Step 3/6: loss 0.686','metrics','{"step": 3, "epoch": 1.5, "train_loss": 0.686, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',8,'fakejob-000003-5','backend','2026-11-27 22:04:40.411257','info','Step 4/6: loss 0.4802','metrics','{"step": 4, "epoch": 2.0, "train_loss": 0.4802, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',9,'fakejob-000003-6','backend','2026-11-27 22:04:41.411257','info','Step 5/6: loss 0.33614','metrics','{"step": 5, "epoch": 2.5, "train_loss": 0.33614, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',10,'fakejob-000003-7','backend','2026-11-27 22:04:42.411257','info','Step 6/6: loss 0.235298','metrics','{"step": 6, "epoch": 3.0, "train_loss": 0.235298, "valid_loss": null, "train_accuracy": null, "valid_accuracy": null, "learning_rate": null, "tokens_per_second": null, "extra": {}}');
INSERT INTO "job_events" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7',11,'fakejob-000003-8','backend','2026-11-27 22:04:43.411257','info','Job done','message','{}');
CREATE TABLE job_requests (
	id VARCHAR(40) NOT NULL, 
	body JSON NOT NULL, 
	backend VARCHAR(80), 
	tuned_model VARCHAR NOT NULL, 
	idempotency_key VARCHAR(255), 
	state VARCHAR(10) NOT NULL, 
	error JSON, 
	created_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	lease_owner VARCHAR(80), 
	lease_expires_at DATETIME, 
	results_file VARCHAR(40), 
	results_at DATETIME, 
	project VARCHAR(64) DEFAULT 'default' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (idempotency_key)
);
INSERT INTO "job_requests" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7','{"model": "support", "training_file": "file-9BmGI0H1eYDqezXSPR1ZOQYR", "metadata": {"a": "b"}, "training_sha256": "19c6ed236fc0d38f8d7d5d48d06762d0a60887d010db2aa2872fff4b4476ca09", "validation_sha256": null}','fake','ft:support:tuneport::yZL1GzX7','k1','taken',NULL,'2026-11-27 22:04:34.566304',NULL,NULL,NULL,'file-f3e3c0a8f24df7e393351f6e','2026-11-27 22:04:48.358783','default');
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
	usd_per_hour FLOAT, 
	idle_seconds FLOAT DEFAULT 0 NOT NULL, 
	idle_since DATETIME, 
	stop_on_overfit BOOLEAN DEFAULT 0 NOT NULL, 
	curve JSON, 
	curve_at DATETIME, 
	stopped_early JSON, 
	announced_end DATETIME, 
	project VARCHAR(64) DEFAULT 'default' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (token)
);
INSERT INTO "jobs" VALUES('job-3dbc2c653e5c','17fc9df6e72180f3d0e5c62b13e52a13','fake','base','{"model": "support", "dataset": "WORK/train.jsonl", "validation": "WORK/train.jsonl", "columns": {}, "method": "sft", "adapter": "auto", "hyperparameters": {"epochs": "auto", "batch_size": "auto", "learning_rate": "auto", "learning_rate_multiplier": "auto", "warmup_ratio": "auto", "weight_decay": "auto", "max_length": "auto", "lora_rank": "auto", "lora_alpha": "auto", "lora_dropout": "auto", "virtual_tokens": "auto", "beta": "auto", "compute_multiplier": "auto", "eval_interval": "auto", "eval_samples": "auto", "reasoning_effort": "auto"}, "suffix": "one", "seed": null, "budget": null, "metadata": {}, "grader": null, "reward": null, "reward_folder": null, "from_checkpoint": null, "wandb": null, "provider_options": {}}','{"training": {"path": "HOME/files/ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1.jsonl", "sha256": "ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1", "format": "openai", "rows": 12, "bytes": 2959, "trained_tokens": 505, "left_out": []}, "validation": {"path": "HOME/files/ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1.jsonl", "sha256": "ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1", "format": "openai", "rows": 12, "bytes": 2959, "trained_tokens": 505, "left_out": []}}','{"backend": "fake", "model": "base", "expected": null, "low": null, "high": null, "billed_tokens_per_epoch": null, "billed_tokens_per_epoch_low": null, "billed_tokens_per_epoch_high": null, "by_table": null, "unavailable": "a provider in a folder, for tests and examples: no rule of billing is known", "authority": "manifest", "explanation": "", "source": null, "as_of": null}','succeeded','fakejob-000001','{"remote_id": "fakejob-000001", "status": "succeeded", "raw_status": "done", "model": "base", "tuned_model": "fake:base:one:fakejob-000001", "created_at": "2026-11-27T22:04:30.370022Z", "finished_at": "2026-11-27T22:04:38.370022Z", "estimated_finish": null, "trained_tokens": 600, "cost": null, "progress": {"step": 6, "total_steps": 6, "epoch": 3.0, "train_loss": null, "tokens_per_second": null, "seconds_left": null}, "error": null, "hyperparameters": {}, "result_files": [], "details": {"training_file": "fakefile-ec1b41d43c4ccca5"}}','null',NULL,'2026-11-27 22:04:30.351580',1,NULL,NULL,'2026-11-27 22:04:30.265194','2026-11-27 22:04:33.946968','2026-11-27 22:04:38.370022','2026-11-27 22:04:33.946611',NULL,NULL,NULL,NULL,'fake:base:one:fakejob-000001',NULL,0,NULL,NULL,0,'{"seconds": null, "seconds_low": null, "seconds_high": null, "seconds_unavailable": "a provider in a folder, for tests and examples publishes no training throughput and no queue times", "seconds_because": "", "uncorrected_seconds": null, "epochs": 5, "tokens": 2525, "params_b": null, "adapter": "lora", "device": null, "billing": null, "usd_per_mtok": null, "minimum_usd": null, "price_source": null, "price_as_of": null, "failed_pays": "unknown", "cancelled_pays": "unknown", "usd_per_hour": null}','{"usd": null, "usd_unavailable": "fake tells no sum, and the price of this job was not known", "usd_because": "", "authority": null, "seconds": 7.414615, "seconds_unavailable": null, "seconds_because": "training until its end, since it was first seen training; waiting before that is not counted", "tokens": 600, "interrupted": false, "share_done": 1.0}','2026-11-27 22:04:30.955407','seen',NULL,NULL,NULL,0,NULL,0.0,'2026-11-27 22:04:38.370022',0,NULL,NULL,NULL,'2026-11-27 22:04:38.370022','default');
INSERT INTO "jobs" VALUES('job-d7e2cda9b13d','eb136064bbcaaf2f48f4a41bd4af3a7d','fake','base','{"model": "support", "dataset": "WORK/train.jsonl", "validation": null, "columns": {}, "method": "sft", "adapter": "auto", "hyperparameters": {"epochs": "auto", "batch_size": "auto", "learning_rate": "auto", "learning_rate_multiplier": "auto", "warmup_ratio": "auto", "weight_decay": "auto", "max_length": "auto", "lora_rank": "auto", "lora_alpha": "auto", "lora_dropout": "auto", "virtual_tokens": "auto", "beta": "auto", "compute_multiplier": "auto", "eval_interval": "auto", "eval_samples": "auto", "reasoning_effort": "auto"}, "suffix": "two", "seed": null, "budget": null, "metadata": {}, "grader": null, "reward": null, "reward_folder": null, "from_checkpoint": null, "wandb": null, "provider_options": {}}','{"training": {"path": "HOME/files/ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1.jsonl", "sha256": "ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1", "format": "openai", "rows": 12, "bytes": 2959, "trained_tokens": 505, "left_out": []}, "validation": null}','{"backend": "fake", "model": "base", "expected": null, "low": null, "high": null, "billed_tokens_per_epoch": null, "billed_tokens_per_epoch_low": null, "billed_tokens_per_epoch_high": null, "by_table": null, "unavailable": "a provider in a folder, for tests and examples: no rule of billing is known", "authority": "manifest", "explanation": "", "source": null, "as_of": null}','cancelled','fakejob-000002','{"remote_id": "fakejob-000002", "status": "cancelled", "raw_status": "stopped", "model": "base", "tuned_model": null, "created_at": "2026-11-27T22:04:34.058734Z", "finished_at": "2026-11-27T22:04:35.058734Z", "estimated_finish": null, "trained_tokens": 0, "cost": null, "progress": {"step": 0, "total_steps": 6, "epoch": 0.0, "train_loss": null, "tokens_per_second": null, "seconds_left": null}, "error": null, "hyperparameters": {}, "result_files": [], "details": {"training_file": "fakefile-ec1b41d43c4ccca5"}}','null',NULL,'2026-11-27 22:04:34.044104',1,NULL,'2026-11-27 22:04:34.098600','2026-11-27 22:04:33.978799','2026-11-27 22:04:34.107621','2026-11-27 22:04:35.058734','2026-11-27 22:04:34.107457',NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,0,'{"seconds": null, "seconds_low": null, "seconds_high": null, "seconds_unavailable": "a provider in a folder, for tests and examples publishes no training throughput, and only one finished job is of about this size: 3 would tell", "seconds_because": "", "uncorrected_seconds": null, "epochs": 5, "tokens": 2525, "params_b": null, "adapter": "lora", "device": null, "billing": null, "usd_per_mtok": null, "minimum_usd": null, "price_source": null, "price_as_of": null, "failed_pays": "unknown", "cancelled_pays": "unknown", "usd_per_hour": null}','{"usd": 0.0, "usd_unavailable": null, "usd_because": "it never began to train", "authority": "computed", "seconds": null, "seconds_unavailable": "it never began to train", "seconds_because": "", "tokens": 0, "interrupted": false, "share_done": 0.0}',NULL,NULL,NULL,NULL,0.0,0,NULL,0.0,NULL,0,NULL,NULL,NULL,'2026-11-27 22:04:35.058734','default');
INSERT INTO "jobs" VALUES('ftjob-Y92oQsinXxzkJWrYyZL1GzX7','24ac14265d86b0f6fabf27f530cf6b12','fake','base','{"model": "support", "dataset": "HOME/contents/19/19c6ed236fc0d38f8d7d5d48d06762d0a60887d010db2aa2872fff4b4476ca09.jsonl", "validation": null, "columns": {}, "method": "sft", "adapter": "auto", "hyperparameters": {"epochs": "auto", "batch_size": "auto", "learning_rate": "auto", "learning_rate_multiplier": "auto", "warmup_ratio": "auto", "weight_decay": "auto", "max_length": "auto", "lora_rank": "auto", "lora_alpha": "auto", "lora_dropout": "auto", "virtual_tokens": "auto", "beta": "auto", "compute_multiplier": "auto", "eval_interval": "auto", "eval_samples": "auto", "reasoning_effort": "auto"}, "suffix": null, "seed": null, "budget": null, "metadata": {"a": "b"}, "grader": null, "reward": null, "reward_folder": null, "from_checkpoint": null, "wandb": null, "provider_options": {}}','{"training": {"path": "HOME/files/ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1.jsonl", "sha256": "ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1", "format": "openai", "rows": 12, "bytes": 2959, "trained_tokens": 505, "left_out": []}, "validation": null}','{"backend": "fake", "model": "base", "expected": null, "low": null, "high": null, "billed_tokens_per_epoch": null, "billed_tokens_per_epoch_low": null, "billed_tokens_per_epoch_high": null, "by_table": null, "unavailable": "a provider in a folder, for tests and examples: no rule of billing is known", "authority": "manifest", "explanation": "", "source": null, "as_of": null}','succeeded','fakejob-000003','{"remote_id": "fakejob-000003", "status": "succeeded", "raw_status": "done", "model": "base", "tuned_model": "fake:base::fakejob-000003", "created_at": "2026-11-27T22:04:35.411257Z", "finished_at": "2026-11-27T22:04:43.411257Z", "estimated_finish": null, "trained_tokens": 600, "cost": null, "progress": {"step": 6, "total_steps": 6, "epoch": 3.0, "train_loss": null, "tokens_per_second": null, "seconds_left": null}, "error": null, "hyperparameters": {}, "result_files": [], "details": {"training_file": "fakefile-ec1b41d43c4ccca5"}}','null',NULL,'2026-11-27 22:04:35.391002',1,NULL,NULL,'2026-11-27 22:04:34.566304','2026-11-27 22:04:48.040076','2026-11-27 22:04:43.411257','2026-11-27 22:04:48.040032',NULL,NULL,NULL,NULL,'fake:base::fakejob-000003',NULL,0,NULL,NULL,0,'{"seconds": null, "seconds_low": null, "seconds_high": null, "seconds_unavailable": "a provider in a folder, for tests and examples publishes no training throughput, and only one finished job is of about this size: 3 would tell", "seconds_because": "", "uncorrected_seconds": null, "epochs": 5, "tokens": 2525, "params_b": null, "adapter": "lora", "device": null, "billing": null, "usd_per_mtok": null, "minimum_usd": null, "price_source": null, "price_as_of": null, "failed_pays": "unknown", "cancelled_pays": "unknown", "usd_per_hour": null}','{"usd": null, "usd_unavailable": "fake tells no sum, and the price of this job was not known", "usd_because": "", "authority": null, "seconds": 3.71597, "seconds_unavailable": null, "seconds_because": "training until its end, since it was first seen training; waiting before that is not counted", "tokens": 600, "interrupted": false, "share_done": 1.0}','2026-11-27 22:04:39.695287','seen',NULL,NULL,NULL,0,NULL,0.0,'2026-11-27 22:04:43.411257',0,NULL,NULL,NULL,'2026-11-27 22:04:43.411257','default');
CREATE TABLE remote_files (
	id INTEGER NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	remote_id VARCHAR NOT NULL, 
	purpose VARCHAR(20) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	filename VARCHAR NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_at DATETIME NOT NULL, 
	deleting_at DATETIME, 
	deleted_at DATETIME, 
	PRIMARY KEY (id), 
	UNIQUE (job_id, purpose), 
	FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
INSERT INTO "remote_files" VALUES(1,'job-3dbc2c653e5c','fakefile-ec1b41d43c4ccca5','training','ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1','fakefile-ec1b41d43c4ccca5.jsonl',2959,'2026-11-27 22:04:30.304538',NULL,NULL);
INSERT INTO "remote_files" VALUES(2,'job-3dbc2c653e5c','fakefile-ec1b41d43c4ccca5','validation','ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1','fakefile-ec1b41d43c4ccca5.jsonl',2959,'2026-11-27 22:04:30.319451',NULL,NULL);
INSERT INTO "remote_files" VALUES(3,'job-d7e2cda9b13d','fakefile-ec1b41d43c4ccca5','training','ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1','fakefile-ec1b41d43c4ccca5.jsonl',2959,'2026-11-27 22:04:34.010366',NULL,NULL);
INSERT INTO "remote_files" VALUES(4,'ftjob-Y92oQsinXxzkJWrYyZL1GzX7','fakefile-ec1b41d43c4ccca5','training','ec1b41d43c4ccca55c353e3116af17eaeaf0ea10813bc5e6928cbfdea63b4be1','fakefile-ec1b41d43c4ccca5.jsonl',2959,'2026-11-27 22:04:35.345512',NULL,NULL);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(9);
CREATE TABLE shown_terms (
	subject VARCHAR(200) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	shown_at DATETIME NOT NULL, 
	PRIMARY KEY (subject)
);
CREATE TABLE tokens (
	id VARCHAR(12) NOT NULL, 
	name VARCHAR(64) NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	scope VARCHAR(10) NOT NULL, 
	project VARCHAR(64), 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME, 
	revoked_at DATETIME, 
	last_used_at DATETIME, 
	PRIMARY KEY (id)
);
CREATE TABLE upload_parts (
	id VARCHAR(40) NOT NULL, 
	upload_id VARCHAR(40) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(upload_id) REFERENCES uploads (id) ON DELETE CASCADE
);
CREATE TABLE uploaded_files (
	id VARCHAR(40) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	filename VARCHAR NOT NULL, 
	purpose VARCHAR(30) NOT NULL, 
	bytes BIGINT NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME, 
	project VARCHAR(64) DEFAULT 'default' NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "uploaded_files" VALUES('file-9BmGI0H1eYDqezXSPR1ZOQYR','19c6ed236fc0d38f8d7d5d48d06762d0a60887d010db2aa2872fff4b4476ca09','train.jsonl','fine-tune',3103,'2026-11-27 22:04:34.514354',NULL,'default');
INSERT INTO "uploaded_files" VALUES('file-f3e3c0a8f24df7e393351f6e','88d57974e6ba642d3340a4e28cd8eab26c552ce912e0c6edef4ed0a087726b6a','step_metrics.csv','fine-tune-results',196,'2026-11-27 22:04:48.354352',NULL,'default');
CREATE TABLE uploads (
	id VARCHAR(40) NOT NULL, 
	filename VARCHAR NOT NULL, 
	purpose VARCHAR(30) NOT NULL, 
	bytes BIGINT NOT NULL, 
	status VARCHAR(10) NOT NULL, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME NOT NULL, 
	file_seconds INTEGER, 
	file_id VARCHAR(40), 
	project VARCHAR(64) DEFAULT 'default' NOT NULL, 
	PRIMARY KEY (id)
);
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE INDEX ix_jobs_due_at ON jobs (due_at);
CREATE INDEX jobs_by_age ON jobs (created_at DESC, id);
CREATE INDEX ix_jobs_finished_at ON jobs (finished_at);
CREATE INDEX ix_jobs_remote_id ON jobs (remote_id);
CREATE INDEX ix_jobs_tuned_model ON jobs (tuned_model);
CREATE INDEX jobs_by_project ON jobs (project, created_at DESC, id);
CREATE INDEX ix_uploaded_files_created_at ON uploaded_files (created_at);
CREATE INDEX ix_uploaded_files_sha256 ON uploaded_files (sha256);
CREATE INDEX uploaded_files_by_project ON uploaded_files (project, created_at DESC, id);
CREATE INDEX job_requests_by_project ON job_requests (project, created_at DESC, id);
CREATE INDEX job_requests_by_age ON job_requests (created_at DESC, id);
CREATE INDEX ix_job_requests_tuned_model ON job_requests (tuned_model);
CREATE INDEX ix_job_requests_state ON job_requests (state);
CREATE INDEX ix_deliveries_created_at ON deliveries (created_at);
CREATE INDEX ix_deliveries_job_id ON deliveries (job_id);
CREATE INDEX ix_deliveries_due_at ON deliveries (due_at);
CREATE UNIQUE INDEX tokens_by_name ON tokens (name) WHERE revoked_at IS NULL;
CREATE INDEX ix_audit_log_created_at ON audit_log (created_at);
CREATE TRIGGER audit_log_no_update BEFORE update ON audit_log
        BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_log_no_delete BEFORE delete ON audit_log
        BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE INDEX remote_files_by_id ON remote_files (remote_id);
CREATE INDEX ix_upload_parts_sha256 ON upload_parts (sha256);
CREATE INDEX ix_upload_parts_upload_id ON upload_parts (upload_id);
CREATE INDEX ix_browser_sessions_expires_at ON browser_sessions (expires_at);
COMMIT;
