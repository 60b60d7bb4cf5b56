"""Phoenix Prediction: the routes that the gateway calls there."""
