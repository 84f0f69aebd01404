package kafkaconn

import "sluice/pipeline/component"

// Secret is a text that must not be seen; see component.Secret.
type Secret = component.Secret
