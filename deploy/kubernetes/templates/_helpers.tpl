{{- /* At most 56 of the 63 characters of a name: the longest suffix is -policy. */ -}}
{{- define "gateway.name" -}}
{{- $name := ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- $name | trunc 56 | trimSuffix "-" -}}
{{- end -}}

{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "gateway.policyName" -}}
{{- .Values.policy.existingConfigMap | default (printf "%s-policy" (include "gateway.name" .)) -}}
{{- end -}}

{{- /* Whether a secret comes from the Secret, or from a secret store by reference. */ -}}
{{- define "gateway.has" -}}
{{- $files := (index . 0).Values.secrets.files | default dict -}}
{{- $settings := (index . 0).Values.settings -}}
{{- $name := index . 1 -}}
{{- get $files $name | default (get $settings (printf "%s_REF" $name)) | default (get $settings $name) -}}
{{- end -}}

{{- /* Stops the rendering of values that contradict each other: the pods would not start, or not do what they say. */ -}}
{{- define "gateway.checks" -}}
{{- $files := .Values.secrets.files | default dict -}}
{{- if not (include "gateway.has" (list . "DATABASE_URL")) -}}
{{- fail "secrets.files.DATABASE_URL is empty: each pod would keep evidence of its own, and lose it. Set it, or settings.DATABASE_URL_REF" -}}
{{- end -}}
{{- $hasOperator := or (include "gateway.has" (list . "PREDICTION_LAUNCH_KEY")) (get .Values.settings "PREDICTION_OPERATOR_CODE") -}}
{{- $isKept := or (include "gateway.has" (list . "REDIS_URL")) .Values.data.existingClaim -}}
{{- if and $hasOperator (not $isKept) -}}
{{- fail "secrets.files.REDIS_URL and data.existingClaim are both empty: a revoked platform key would be forgotten when its pod ends, and other pods would not learn of it. Set secrets.files.REDIS_URL, or data.existingClaim to a volume that all pods write" -}}
{{- end -}}
{{- if and (include "gateway.has" (list . "REDIS_URL")) (not (include "gateway.has" (list . "GATEWAY_CACHE_KEYS"))) -}}
{{- fail "secrets.files.GATEWAY_CACHE_KEYS is empty: what is in Redis is encrypted with it. Set it, or remove secrets.files.REDIS_URL" -}}
{{- end -}}
{{- $own := list "GATEWAY_LISTEN" "GATEWAY_ADMIN_LISTEN" "GATEWAY_ADMIN_CLIENT_AUTH" "GATEWAY_TLS_CERT_FILE" "GATEWAY_TLS_KEY_FILE" "GATEWAY_TLS_CLIENT_CA_FILE" "GATEWAY_CONFIG" "GATEWAY_DRAIN_DELAY" "GATEWAY_DRAIN_TIMEOUT" "GATEWAY_LOG_FORMAT" -}}
{{- if .Values.data.existingClaim -}}{{- $own = append $own "GATEWAY_DATA_DIR" -}}{{- end -}}
{{- if .Values.upstreamCa.configMapName -}}{{- $own = append $own "GATEWAY_UPSTREAM_CA_FILE" -}}{{- end -}}
{{- range $setting, $value := .Values.settings -}}
{{- $isSet := ne (toString $value) "" -}}
{{- if and $isSet (has $setting $own) -}}
{{- fail (printf "settings.%s is set by the chart: remove it, and use service, admin, tls, policy, drain, data or upstreamCa" $setting) -}}
{{- end -}}
{{- $secret := $setting | trimSuffix "_FILE" | trimSuffix "_REF" -}}
{{- if and $isSet (get $files $secret) -}}
{{- fail (printf "settings.%s and secrets.files.%s are both set: remove one of them" $setting $secret) -}}
{{- end -}}
{{- end -}}
{{- if eq (int .Values.service.port) (int .Values.admin.port) -}}
{{- fail "service.port and admin.port are equal: set two ports" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (dig "requests" "cpu" "" (.Values.resources | default dict))) -}}
{{- fail "resources.requests.cpu is empty: autoscaling.cpuPercent is a share of it" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (eq .Values.admin.clientAuth "metrics") (not .Values.serviceMonitor.tlsSecretName) -}}
{{- fail "serviceMonitor.tlsSecretName is empty: /metrics wants a client certificate of Prometheus. Set it, or set admin.clientAuth to none" -}}
{{- end -}}
{{- if .Values.externalSecret.enabled -}}
{{- range $setting, $key := $files -}}
{{- if and $key (not (get $.Values.externalSecret.keys $key)) -}}
{{- fail (printf "externalSecret.keys.%s is empty: secrets.files.%s names this key, and the operator would not make it" $key $setting) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $label, $value := .Values.podLabels -}}
{{- if hasKey (include "gateway.labels" $ | fromYaml) $label -}}
{{- fail (printf "podLabels has %s, which the chart sets: remove it" $label) -}}
{{- end -}}
{{- end -}}
{{- end -}}
