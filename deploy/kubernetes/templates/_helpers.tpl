{{- define "gateway.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name }}{{- else -}}{{ .Release.Name }}-{{ .Chart.Name }}{{- end -}}
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

{{- /* Stops the rendering where a revoked key would be forgotten with its pod. */ -}}
{{- define "gateway.remembersRevocations" -}}
{{- $files := .Values.secrets.files -}}
{{- $hasOperator := or (get $files "PREDICTION_LAUNCH_KEY") (get .Values.settings "PREDICTION_OPERATOR_CODE") -}}
{{- $isKept := or (get $files "REDIS_URL") (get .Values.settings "REDIS_URL") .Values.data.existingClaim -}}
{{- if and $hasOperator (not $isKept) -}}
{{- fail "secrets.files.REDIS_URL and data.existingClaim are both empty: a revoked platform key would be forgotten when its pod ends, and other pods would not learn of it. Set secrets.files.REDIS_URL, or data.existingClaim to a volume that all pods write" -}}
{{- end -}}
{{- end -}}
