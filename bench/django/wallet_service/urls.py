"""The routes: users and tokens as djoser and SimpleJWT have them, and the wallets."""

from django.urls import include, path
from rest_framework_simplejwt.views import TokenObtainPairView, TokenRefreshView, TokenVerifyView

from .views import OperationView, WalletView

urlpatterns = [
    path("api/auth/", include("djoser.urls")),
    path("api/auth/token/", TokenObtainPairView.as_view()),
    path("api/auth/token/refresh/", TokenRefreshView.as_view()),
    path("api/auth/token/verify/", TokenVerifyView.as_view()),
    path("api/v1/wallets/<uuid:wallet_id>", WalletView.as_view()),
    path("api/v1/wallets/<uuid:wallet_id>/operation", OperationView.as_view()),
]
