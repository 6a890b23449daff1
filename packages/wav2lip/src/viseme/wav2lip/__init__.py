"""Wav2Lip: lips that follow any speech."""
