            -- Shared by append_batch and judge_batch: events __from__ to __to__ of the batch, as far
            -- as they are accepted, and the keys of calls __from_call__ to __to_call__.
            IF array_position(type_ids, NULL) IS NOT NULL THEN
                INSERT INTO __schema__.event_types (name)
                SELECT DISTINCT p_types[p_event_types[i]]
                  FROM generate_series(__from__, __to__) i
                 WHERE __position__ IS NOT NULL AND type_ids[p_event_types[i]] IS NULL
                 ORDER BY 1 ON CONFLICT DO NOTHING;
                SELECT array_agg((SELECT y.type_id FROM __schema__.event_types y
                                   WHERE y.name = n.name) ORDER BY n.i) INTO type_ids
                  FROM unnest(p_types) WITH ORDINALITY n(name, i);
            END IF;
            INSERT INTO __schema__.events (
                tenant_id, position, stream_id, version, event_id, type_id, schema_version,
                recorded_at, occurred_at, actor, causation_id, correlation_id, derived_from, tags,
                context, payload, hash)
            SELECT tenant, __position__, stream_ids[p_event_streams[i]], __version__, p_ids[i],
                   type_ids[p_event_types[i]], p_schema_versions[i], o_recorded, p_occurred[i],
                   p_actors[i], p_causations[i], p_correlations[i], p_derived[i], p_event_tags[i],
                   p_contexts[i], p_payloads[i], event_hash[i]
              FROM generate_series(__from__, __to__) i WHERE __position__ IS NOT NULL;
            IF p_tags IS NOT NULL THEN
                IF array_position(tag_ids, NULL) IS NOT NULL THEN
                    INSERT INTO __schema__.tags (tenant_id, name)
                    SELECT DISTINCT tenant, p_tags[p_tag_numbers[x]]
                      FROM unnest(p_tag_events) WITH ORDINALITY n(i, x)
                     WHERE i BETWEEN __from__ AND __to__ AND __position__ IS NOT NULL
                       AND tag_ids[p_tag_numbers[x]] IS NULL;
                    SELECT array_agg((SELECT y.tag_id FROM __schema__.tags y
                                       WHERE y.tenant_id = tenant AND y.name = n.name)
                                     ORDER BY n.i) INTO tag_ids
                      FROM unnest(p_tags) WITH ORDINALITY n(name, i);
                END IF;
                INSERT INTO __schema__.event_tags (tag_id, position)
                SELECT tag_ids[p_tag_numbers[x]], __position__
                  FROM unnest(p_tag_events) WITH ORDINALITY n(i, x)
                 WHERE i BETWEEN __from__ AND __to__ AND __position__ IS NOT NULL;
            END IF;
            IF p_causes IS NOT NULL THEN
                INSERT INTO __schema__.event_causes (tenant_id, cause_id, position)
                SELECT tenant, p_causes[x], __position__
                  FROM unnest(p_cause_events) WITH ORDINALITY n(i, x)
                 WHERE i BETWEEN __from__ AND __to__ AND __position__ IS NOT NULL;
            END IF;
            IF p_call_keys IS NOT NULL THEN
                INSERT INTO __schema__.idempotency_keys (
                    tenant_id, stream_id, key, content_hash, first_position, event_count, call)
                SELECT tenant, coalesce(stream_ids[p_call_key_streams[k]], 0), p_call_keys[k],
                       p_call_hashes[k], __first__, p_call_events[k], __said__
                  FROM generate_series(__from_call__, __to_call__) k
                 WHERE p_call_keys[k] IS NOT NULL AND __first__ IS NOT NULL;
            END IF;
